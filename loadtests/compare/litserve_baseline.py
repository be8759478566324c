"""The same afternoon's work on LitServe, for those who would have reached for it.

    BASELINE_MODEL=scrfd_500m.onnx python -m loadtests.compare.litserve_baseline --port 9000 --workers 2

LitServe is no dependency of this project, and is left out of the comparison where it cannot be imported. Each
route is a LitAPI with a worker for each core; a worker decodes, predicts and encodes one request at a time.
"""

import argparse
import os
import signal
from typing import Any

import cv2
import litserve  # type: ignore[import-not-found, unused-ignore] # no dependency
from fastapi import HTTPException, Request, Response

from loadtests.compare.baseline import FaceFinder, Faces, UInt8Array, decode_image, mask


class DetectAPI(litserve.LitAPI):  # type: ignore[misc, unused-ignore] # untyped where it is not installed
    """Answers with the faces as JSON."""

    def setup(self, device: str) -> None:
        """Load the weights, in each worker."""
        cv2.setNumThreads(1)
        threads = int(os.environ.get("BASELINE_THREADS", "1"))
        self.finder = FaceFinder(os.environ["BASELINE_MODEL"], threads)

    def decode_request(self, request: Request) -> UInt8Array:
        """The picture of the part `image`. LitServe parses a `Request` and hands over its form."""
        form: Any = request
        try:
            return decode_image(form["image"].file.read())
        except ValueError as error:
            raise HTTPException(400, str(error)) from error

    def predict(self, picture: UInt8Array) -> tuple[UInt8Array, Faces]:
        """Find the faces."""
        return picture, self.finder.find(picture)

    def encode_response(self, found: tuple[UInt8Array, Faces]) -> Any:  # noqa: ANN401 - JSON
        """The faces as JSON."""
        return found[1].to_json()


class MaskAPI(DetectAPI):
    """Answers with the picture, its faces blurred."""

    def encode_response(self, found: tuple[UInt8Array, Faces]) -> Any:  # noqa: ANN401 - as DetectAPI
        """The picture as JPEG."""
        picture, faces = found
        return Response(mask(picture, faces.boxes), media_type="image/jpeg")


def main() -> None:
    """Serve both routes until SIGTERM."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="of each route")
    options = parser.parse_args()
    apis = [DetectAPI(api_path="/detect"), MaskAPI(api_path="/mask")]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # LitServe ends cleanly on Ctrl-C only
    server = litserve.LitServer(apis, accelerator="cpu", workers_per_device=options.workers, timeout=120)
    server.run(
        host="127.0.0.1",
        port=options.port,
        num_api_servers=options.workers,
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
