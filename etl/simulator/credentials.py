"""What the simulated platforms accept: fixed, documented, and worth nothing anywhere else."""

from dataclasses import dataclass


@dataclass(slots=True)
class Credentials:
    """Accepted by one simulator; change a field while it serves and the old value is refused."""

    explorer_user: str = "analyst"
    explorer_password: str = "simulated-explorer-password"  # noqa: S105 - public on purpose
    explorer_address: str = "graphd.example.internal"
    explorer_port: int = 9669
    explorer_token: str = "simulated-explorer-token"  # noqa: S105 - public on purpose
    act2_user: str = "operator"
    act2_password: str = "simulated-act2-password"  # noqa: S105 - public on purpose
    project_id: str = "0b1c2d3e4f5061728394a5b6c7d8e9f0"
    workspaces: tuple[str, ...] = (
        "3f8a51c0d2e94b67a1c5e0f7b3d92846",
        "9c41d7be05f24a8e86b3f1d20a7c5e93",
    )
    dataarts_token: str = "simulated-dataarts-token"  # noqa: S105 - public on purpose
    huawei_domain: str = "example-domain"
    huawei_user: str = "quality-reader"
    huawei_password: str = "simulated-huawei-password"  # noqa: S105 - public on purpose
    access_key: str = "SIMULATEDACCESSKEY01"
    secret_key: str = "simulatedSecretKeyOfFortyCharacters01234"  # noqa: S105 - public on purpose

    @property
    def workspace(self) -> str:
        """The first workspace: the one that holds instances unless another is named."""
        return self.workspaces[0]
