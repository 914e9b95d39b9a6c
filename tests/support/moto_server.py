"""moto's S3 server on a free port of 127.0.0.1, with every key addressable: `python moto_server.py PORT`.

Beyond `moto_server` itself, keys that contain a newline reach the S3 backend: moto's URL patterns use
`.`, which stops at a newline, so such a key would get a 404 that names nothing. And multipart uploads are
listed with the time at which they began: moto has one day of 2010 for all.
"""

import sys
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.moto_server import utilities, werkzeug_app
from moto.s3 import models, responses
from werkzeug.serving import make_server


class AnyKeyConverter(utilities.RegexConverter):
    """moto's pattern converter whose `.` matches a newline as well."""

    def __init__(self, url_map: Any, *items: Any) -> None:
        super().__init__(url_map, *items)
        self.regex = f"(?s:{self.regex})"


_begin_multipart = models.FakeMultipart.__init__


def begin_dated(upload: models.FakeMultipart, *arguments: Any, **options: Any) -> None:
    """Begins an upload whose id tells when that was."""
    _begin_multipart(upload, *arguments, **options)
    upload.id = f"{datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%S.%fZ')}-{upload.id}"


class ResultWithDates(ActionResult):
    """An answer that tells of each upload that it lists when it began."""

    def __init__(self, result: Any) -> None:
        super().__init__(result)
        for upload in result.get("Uploads", ()) if isinstance(result, dict) else ():
            upload["Initiated"] = upload["UploadId"].partition("Z-")[0] + "Z"


def main() -> None:
    vars(werkzeug_app)["RegexConverter"] = AnyKeyConverter
    type.__setattr__(models.FakeMultipart, "__init__", begin_dated)
    vars(responses)["ActionResult"] = ResultWithDates
    app = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)
    port = int(sys.argv[1])
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=werkzeug_app.MotoRequestHandler)
    print(f"serving on http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
