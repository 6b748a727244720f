"""Apple's GPU backend of PyTorch: not present."""


def is_available() -> bool:
    return False


def is_built() -> bool:
    return False


def is_macos_or_newer(major: int, minor: int) -> bool:
    """Whether this is such a macOS."""
    import platform

    version = platform.mac_ver()[0]
    return bool(version) and tuple(map(int, version.split(".")[:2])) >= (major, minor)


def is_macos13_or_newer(minor: int = 0) -> bool:
    """Whether this is macOS 13 (of that minor version), or a later one."""
    return is_macos_or_newer(13, minor)


def get_core_count() -> int:
    """0: there is no such GPU."""
    return 0


def get_name() -> str:
    """Empty: there is no such GPU."""
    return ""
