"""Reading a delivery status notification as strictly as a program can."""
import email
import email.policy
import re

FIELDS = {"received", "from", "to", "subject", "date", "message-id",
          "auto-submitted", "mime-version", "content-type",
          "content-transfer-encoding", "in-reply-to", "references"}


class Dsn:
    """What a next hop was given, taken apart. Whatever is not as RFC 3462,
    3464 and 5322 want it is an AssertionError."""

    def __init__(self, got, utf8=False):
        raw = got.data
        assert got.sender == "", got.mail
        assert not re.search(rb"\0|\r(?!\n)|(?<!\r)\n", raw), "bare octets"
        for line in raw.split(b"\r\n"):
            assert len(line) <= 998, line[:100]
            assert utf8 or not re.search(rb"[\x01-\x08\x0b-\x1f\x7f]", line), \
                line
        self.message = m = email.message_from_bytes(
            raw, policy=email.policy.SMTP)
        names = [k.lower() for k in m.keys()]
        assert set(names) <= FIELDS, names
        for name in FIELDS - {"received"}:
            assert names.count(name) <= 1, name
        assert m["auto-submitted"] in ("auto-replied", "auto-generated")
        assert m.get_content_type() == "multipart/report"
        assert m.get_param("report-type") == "delivery-status"
        assert m["from"] and m["to"] and m["date"] and m["message-id"]
        assert not m.defects, m.defects
        parts = m.get_payload()
        assert len(parts) == 3, [p.get_content_type() for p in parts]
        text, status, original = parts
        for p in parts:
            assert not p.defects, (p.get_content_type(), p.defects)
        assert text.get_content_type() == "text/plain"
        self.text = text.get_payload(decode=True).decode("utf-8")
        self.type = status.get_content_type()
        assert self.type in ("message/delivery-status",
                             "message/global-delivery-status")
        blocks = _blocks(raw, m.get_boundary())
        self.fields = _group(blocks[0])
        self.rcpts = [_group(b) for b in blocks[1:]]
        assert "reporting-mta" in self.fields
        for r in self.rcpts:
            assert re.match(r"(rfc822|utf-8); ?.+", r["final-recipient"]), r
            assert r["action"] in ("failed", "delayed", "delivered",
                                   "relayed", "expanded")
            assert re.match(r"[245]\.\d{1,3}\.\d{1,3}$", r["status"]), r
        self.original = original
        self.original_type = original.get_content_type()
        # Its octets, not what the parser makes of them.
        third = raw.split(b"\r\n--" + m.get_boundary().encode())[3]
        self.original_raw = third.partition(b"\r\n\r\n")[2]

    def rcpt(self, address):
        return next(r for r in self.rcpts
                    if r["final-recipient"].partition(";")[2].strip() ==
                    address)


def _blocks(raw, boundary):
    part = raw.split(b"\r\n--" + boundary.encode())[2]
    body = part.partition(b"\r\n\r\n")[2].decode("utf-8")
    return [b for b in body.split("\r\n\r\n") if b.strip()]


def _group(block):
    fields = {}
    for line in re.sub(r"\r\n[ \t]+", " ", block.strip("\r\n")).split("\r\n"):
        name, colon, value = line.partition(":")
        assert colon and re.fullmatch(r"[A-Za-z-]+", name), line
        assert name.lower() not in fields, f"{name} twice"
        fields[name.lower()] = value.strip()
    return fields
