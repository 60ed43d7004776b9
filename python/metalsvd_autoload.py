"""What `import torch` runs by itself (entry point ``torch.backends``).

torch treats an exception here as its own failure, so none may leave: a broken or half-installed metalsvd says so in one
warning and torch works without it. This is a module of its own because importing ``metalsvd`` is what may fail.
"""


def load() -> None:
    """Imports metalsvd, which routes ``torch.linalg.svd`` on mps."""
    try:
        import metalsvd  # noqa: F401
    except Exception as error:
        import warnings

        warnings.warn(
            f"metalsvd could not be loaded and torch goes on without it: {error} "
            "(reinstall metalsvd, or set TORCH_DEVICE_BACKEND_AUTOLOAD=0 to stop loading it with torch)",
            RuntimeWarning,
            stacklevel=2,
        )
