"""Several processes that train each cell together: joining, sharing work, stopping together."""

__all__: list[str] = []
