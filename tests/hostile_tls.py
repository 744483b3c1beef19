"""A certificate for localhost that nobody vouches for, and its key, which guards nothing."""

from __future__ import annotations

import ssl
from pathlib import Path

KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnaDcHw5txHBvpcQ+
YVZeqmzke5zXjqGHfIprq4ZoaZehRANCAAQqb7cqwgOPWZCertlrFW5phOpMiShX
DeI9/oOdkhHUKCO3TbW79IWq6yN+IOieCKJP29XYS7j78gIeK3m+V3TJ
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUenqqo7QvMvUhji3y+NCWLhVxJiUwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjIwMDcwOFoYDzIxMjYxMDI5
MjAwNzA4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQqb7cqwgOPWZCertlrFW5phOpMiShXDeI9/oOdkhHUKCO3TbW79IWq
6yN+IOieCKJP29XYS7j78gIeK3m+V3TJo2kwZzAdBgNVHQ4EFgQUyMNwVpDYm24n
B1cWb9zmNt14NkswHwYDVR0jBBgwFoAUyMNwVpDYm24nB1cWb9zmNt14NkswDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
RwAwRAIgdAMHNB4WYHKgmtKs5tL4h1RuvmzPRizUh5BWsZuGY/ECIETIO3jtImod
wk5CbIh6m9yGbcg7uxUtcNXPViDzJWVV
-----END CERTIFICATE-----
"""


def server_context(directory: Path) -> ssl.SSLContext:
    """What a server needs; the certificate is then also in `directory`/ca.pem."""
    (directory / "key.pem").write_text(KEY)
    (directory / "ca.pem").write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "ca.pem", directory / "key.pem")
    return context
