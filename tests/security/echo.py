"""A server that quotes in its refusals what a request was signed with, as AWS does with tokens and signatures."""

from __future__ import annotations

from xml.sax.saxutils import escape

from tests.support import Handler, ScriptedServer

_PAGE = (
    "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>data/{key}</Key><Size>3</Size>"
    "<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>900150983cd24fb0d6963f7d28e17f72</ETag></Contents>"
    "</ListBucketResult>"
)


class EchoServer(ScriptedServer):
    """Lists one object, and refuses everything else with `code`; with `lists=False`, refuses listings as well."""

    def __init__(self, code: str, status: int, *, lists: bool = True, key: str = "a"):
        class Echo(Handler):
            def respond(self) -> None:
                self.body()
                listed = lists and self.command == "GET" and "list-type=2" in self.path
                body = (_PAGE.format(key=key) if listed else self.refusal()).encode()
                self.answer(200 if listed else status, body, Content_Type="application/xml")

            def refusal(self) -> str:
                token = escape(self.headers.get("x-amz-security-token", ""))
                signed = escape(self.headers.get("authorization", ""))
                return (
                    f"<Error><Code>{code}</Code>"
                    f"<Message>Refused: X-Amz-Security-Token={token}&amp;x=1, {signed}</Message>"
                    f"<Token-0>{token}</Token-0><StringToSign>{signed} {token}</StringToSign></Error>"
                )

        super().__init__(Echo)
