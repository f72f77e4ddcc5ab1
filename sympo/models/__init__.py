"""Models: small networks of images, stacked over cells, and language models of texts."""

from sympo.lazy import loader

__all__ = ["images", "texts"]

__getattr__ = loader(__name__, {}, __all__)
