"""GET /api/v1/receipts/key."""

from fastapi import APIRouter

from serve_app.openapi import receipt_key_docs
from serve_app.receipts.issue import Receipts
from serve_app.receipts.key import PublicKey


def receipts_router(receipts: Receipts) -> APIRouter:
    """The route for whoever checks receipts."""
    router = APIRouter(prefix="/api/v1/receipts", tags=["faces"])

    @router.get("/key", summary="The public key that receipts are checked with", **receipt_key_docs())
    async def key() -> PublicKey:
        return receipts.public_key

    return router
