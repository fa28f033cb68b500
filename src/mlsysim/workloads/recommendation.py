"""Recommenders: gathered rows of embedding tables, two dense towers, and the products of features between them.

Sources: DLRM, arXiv:1906.00091; low-rank cross layers (DCN V2), arXiv:2008.13535.
"""

from __future__ import annotations

from typing import Any

from ..catalog.models import Recommender
from ..errors import CatalogError, MissingFactError
from .trace import Shape, Trace


def widths(text: str, where: str) -> list[float]:
    """The widths of a tower written as ``13-512-256-128``.

    Raises:
        CatalogError: a part that is no positive number, or fewer than two

    Examples:
        >>> widths("13-512-256", "bottom_mlp")
        [13.0, 512.0, 256.0]
    """
    parts = text.split("-")
    if len(parts) < 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise CatalogError(f"{where}: expected widths such as 13-512-256-128, found {text[:60]!r}")
    return [float(part) for part in parts]


def recommend(t: Trace, model: Recommender) -> None:
    """Walk through a recommender: dense tower, embeddings, products of features, top tower.

    Raises:
        MissingFactError: the entry lacks its tables or a tower
        CatalogError: towers that do not fit the tables
    """
    m = model.si
    missing = [
        name
        for name in ("embedding_tables", "embedding_dim", "embedding_rows", "bottom_mlp", "top_mlp")
        if getattr(m, name) is None
    ]
    if missing:
        raise MissingFactError(
            f"{model.id}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in the catalog"
        )
    bottom, top = widths(m.bottom_mlp, f"{model.id}.bottom_mlp"), widths(m.top_mlp, f"{model.id}.top_mlp")
    features = m.embedding_tables + 1
    joined = features * m.embedding_dim if m.cross_layers else m.embedding_dim + features * (features - 1) / 2
    for wanted, found, where in ((m.embedding_dim, bottom[-1], "bottom_mlp ends"), (joined, top[0], "top_mlp starts")):
        if wanted != found:
            raise CatalogError(f"{model.id}: {where} with {found:g}; the tables and features make {wanted:g}")
    t.shape = Shape(bottom[0], ())
    _tower(t, "bottom", bottom)
    lookups = m.embedding_lookups if m.embedding_lookups is not None else m.embedding_tables
    t.own(m.embedding_rows * m.embedding_dim)
    t.emit(
        "embeddings",
        "embedding",
        m=t.batch * lookups,
        n=m.embedding_dim,
        k=m.embedding_rows / m.embedding_tables,
        groups=m.embedding_tables,
        weight_bytes=t.batch * lookups * m.embedding_dim * t.weight,
        write_bytes=t.size(Shape(m.embedding_dim, (m.embedding_tables,))),
    )
    if m.cross_layers:
        _cross(t, m, joined)
    else:
        vectors = Shape(m.embedding_dim, (features,))
        t.emit(
            "products",
            "gemm",
            m=features,
            n=features,
            k=m.embedding_dim,
            groups=t.batch,
            flops=2.0 * t.batch * features * features * m.embedding_dim,
            read_bytes=t.size(vectors),
            write_bytes=t.size(Shape(joined, ())),
        )
    t.shape = Shape(joined, ())
    _tower(t, "top", top)


def _tower(t: Trace, name: str, sizes: list[float]) -> None:
    for index, size in enumerate(sizes[1:], 1):
        t.linear(f"{name}{index}", size)


def _cross(t: Trace, m: Any, width: float) -> None:
    """Layers that multiply the features with a low-rank map of themselves."""
    t.shape = Shape(width, ())
    with t.times(m.cross_layers):
        t.linear("down", m.cross_rank or width, bias=False)
        t.linear("up", width)
        t.pointwise("cross", inputs=3.0)
