"""moto's S3 server on a free port of 127.0.0.1, with every key addressable: `python moto_server.py PORT`.

Beyond `moto_server` itself, keys that contain a newline reach the S3 backend: moto's URL patterns use
`.`, which stops at a newline, so such a key would get a 404 that names nothing.
"""

import sys
from typing import Any

from moto.moto_server import utilities, werkzeug_app
from werkzeug.serving import make_server


class AnyKeyConverter(utilities.RegexConverter):
    """moto's pattern converter whose `.` matches a newline as well."""

    def __init__(self, url_map: Any, *items: Any) -> None:
        super().__init__(url_map, *items)
        self.regex = f"(?s:{self.regex})"


def main() -> None:
    vars(werkzeug_app)["RegexConverter"] = AnyKeyConverter
    app = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)
    port = int(sys.argv[1])
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=werkzeug_app.MotoRequestHandler)
    print(f"serving on http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
