"""What the tests stand on: real S3 servers, a proxy that breaks them on request, odd file trees.

Nothing here imports pos3, so a bug in pos3 cannot hide behind the code that checks it.
"""

from tests.support.connect import ConnectProxy
from tests.support.faults import (
    FailPage,
    Fault,
    Flip,
    Hang,
    LateAnswer,
    Latency,
    OtherAnswer,
    OtherHeaders,
    OtherQuery,
    ResetAfter,
    ResetBefore,
    Short,
    SkewedClock,
    Slowdown,
    Status,
    Trickle,
    Truncate,
    Unseen,
    later_pages,
    on,
)
from tests.support.memory import MemoryServer, md5_etag
from tests.support.proxy import Proxy
from tests.support.relay import Relay
from tests.support.request import Request
from tests.support.scripted import Handler, ScriptedServer
from tests.support.servers import YOURS, EnvServer, MotoServer, RcloneServer, Server, Stored, Traits
from tests.support.site import S3Site
from tests.support.tls_proxy import Asked, TlsProxy
from tests.support.trees import assert_same, contents, odd_tree, write_tree

__all__ = [
    "YOURS",
    "Asked",
    "ConnectProxy",
    "EnvServer",
    "FailPage",
    "Fault",
    "Flip",
    "Handler",
    "Hang",
    "LateAnswer",
    "Latency",
    "MemoryServer",
    "MotoServer",
    "OtherAnswer",
    "OtherHeaders",
    "OtherQuery",
    "Proxy",
    "RcloneServer",
    "Relay",
    "Request",
    "ResetAfter",
    "ResetBefore",
    "S3Site",
    "ScriptedServer",
    "Server",
    "Short",
    "SkewedClock",
    "Slowdown",
    "Status",
    "Stored",
    "TlsProxy",
    "Traits",
    "Trickle",
    "Truncate",
    "Unseen",
    "assert_same",
    "contents",
    "later_pages",
    "md5_etag",
    "odd_tree",
    "on",
    "write_tree",
]
