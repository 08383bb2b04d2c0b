"""The web server against strangers: who may come in, what each answer carries, and what nobody can use up."""

import contextlib
import http.client
import logging
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fer_edge.cli import main
from fer_edge.errors import UsageError
from fer_edge.serving import connections
from fer_edge.serving.access import Access, Visit, access_for
from fer_edge.serving.connections import Connections, share_of
from fer_edge.serving.listening import listen_address

from tests.runtime.fakes.feeding import feeding
from tests.runtime.fakes.mjpeg_server import free_port
from tests.runtime.test_web import TOKEN, asked, next_event, next_picture, scene, status, web
from tests.waiting import eventually

SECURITY_HEADERS = (
    *("Cache-Control", "Content-Security-Policy", "Cross-Origin-Resource-Policy", "Referrer-Policy"),
    *("X-Content-Type-Options", "X-Frame-Options"),
)


def raw(sink, data, host="127.0.0.1", source=None):
    """All that comes back for these bytes, until the server closes."""
    with socket.create_connection((host, sink.server.port), 10, source and (source, 0)) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionError):
            while block := client.recv(65536):
                received += block
        return received


def get(path="/", *lines, version="HTTP/1.1"):
    return "\r\n".join([f"GET {path} {version}", *lines, "", ""]).encode()


def code(answer):
    return int(answer.split()[1]) if answer else None


# --- Who may come in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "LocalHost:8000", "localhost.", "fer.localhost", "127.0.0.1", "127.0.1.1:8000"),
        *("127.255.255.254", "[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "board", "BOARD.:80"),
    ],
)
def test_without_a_token_this_machine_comes_in_by_any_of_its_names(host):
    assert Access(None, host="Board").refusal(Visit({"Host": host}, "/events")) is None


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "128.0.0.1",
            "0.0.0.0",
            "",
        ),
        *("me@localhost", "localhost/x", "localhost#", "[::2]", "[", "10.0.0.5", "\u0131localhost", "localhost:80:80x"),
    ],
)
def test_without_a_token_no_other_name_comes_in(host):
    """DNS rebinding: a web site may point a name of its own at 127.0.0.1."""
    refusal = Access(None, host="127.0.0.1").refusal(Visit({"Host": host}, "/events"))
    assert refusal.status == 403 and "[web] token" in refusal.text and "printed" not in refusal.text


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto"])
def test_who_comes_through_a_proxy_is_not_this_machine(name):
    headers = {"Host": "localhost:8000", name: "1.2.3.4"}
    refusal = Access(None).refusal(Visit(headers, "/"))
    assert refusal.status == 403 and f"through a proxy ({name})" in refusal.text and "[web] token" in refusal.text
    assert Access(TOKEN).refusal(Visit(headers, "/", cookie=TOKEN)) is None, "with the token all may"


@given(given=st.text(st.characters(exclude_categories=[]), max_size=40), place=st.sampled_from(["cookie", "query"]))
@example(given="\ud800", place="cookie")
def test_nothing_but_the_token_opens_the_door(given, place):
    assert (Access(TOKEN).refusal(Visit({}, "/", **{place: given})) is None) == (given == TOKEN)


@given(st.text(max_size=60))
def test_no_authorization_but_the_bearer_with_the_token_opens_the_door(text):
    scheme, _, rest = text.partition(" ")
    expected = scheme.lower() == "bearer" and rest.strip() == TOKEN
    assert (Access(TOKEN).refusal(Visit({"Authorization": text}, "/")) is None) == expected


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR "])
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_header_names_and_schemes_have_no_case(scheme, name):
    with web("0.0.0.0:0", TOKEN) as sink:
        assert code(raw(sink, get("/page.js", "host: x", f"{name}:{scheme} {TOKEN}"))) == 200
        assert code(raw(sink, get("/page.js", "host: x", f"{name}: {scheme} {TOKEN}x"))) == 401
        assert code(raw(sink, get("/page.js", "host: x", f"{name}: Basic {TOKEN}"))) == 401


@pytest.mark.parametrize(
    ("headers", "path", "welcome"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, "/", False),
        (
            {"Sec-Fetch-Site": "Cross-Site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
            "/stream.mjpg",
            False,
        ),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, "/events", False),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, "/", False),
        (
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
            "/events",
            False,
        ),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, "/", True),
        ({"Sec-Fetch-Site": "same-origin"}, "/stream.mjpg", True),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, "/stream.mjpg", True),
        ({"Origin": "http://evil.example"}, "/events", False),
        ({"Origin": "null"}, "/events", False),
        ({"Origin": "http://["}, "/events", False),
        ({"Origin": "http://localhost:8000"}, "/events", True),
    ],
)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_another_web_site_may_link_to_the_page_and_show_nothing_of_it(headers, path, welcome, token):
    visit = Visit({"Host": "localhost:8000", **headers}, path, cookie=TOKEN)
    refusal = Access(token).refusal(visit)
    assert (refusal is None) == welcome
    assert welcome or refusal.status == 403


def test_the_page_of_a_proxy_is_of_the_proxys_origin():
    headers = {"Host": "127.0.0.1:8000", "X-Forwarded-Host": "cam.example.org", "Origin": "https://cam.example.org"}
    assert Access(TOKEN).refusal(Visit(headers, "/events", cookie=TOKEN)) is None


# --- Where to listen -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("8000", "127.0.0.1", 8000, True),
        ("localhost:80", "localhost", 80, True),
        ("LOCALHOST:80", "LOCALHOST", 80, True),
        ("127.0.0.1:0", "127.0.0.1", 0, True),
        ("127.0.1.1:8000", "127.0.1.1", 8000, True),
        ("[::1]:8000", "::1", 8000, True),
        ("0.0.0.0:8000", "0.0.0.0", 8000, False),
        ("[::]:8000", "::", 8000, False),
        ("192.0.2.1:8000", "192.0.2.1", 8000, False),
    ],
)
def test_where_to_listen(text, host, port, loopback):
    address = listen_address(text, "--web")
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert (access_for(address, None).token is None) == loopback


def test_a_name_of_this_machine_is_what_it_stands_for(monkeypatch):
    """Debian gives the host name the address 127.0.1.1."""
    found = {"board": ["127.0.1.1"], "board.lan": ["127.0.1.1", "10.0.0.5"]}
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda host, port, **_: [(socket.AF_INET, 1, 6, "", (ip, port)) for ip in found[host]]
    )
    assert listen_address("board:8000", "--web").is_loopback
    assert not listen_address("board.lan:8000", "--web").is_loopback


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "web",
            ":",
            ":8000",
            "8000:",
            "host:",
            "70000",
            "::1:8000",
            "1.2.3.4",
            "²",
            "9" * 5000,
            "a..b:80",
            "a\0b:80",
        ),
        *(f"{'x' * 70}:80", ".:80", "\ud800:80", "no-such-host.invalid:80", "[127.0.0.1:80:80", "-1"),
    ],
)
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="--web") as refused:
        listen_address(text, "--web")
    assert "\n" not in str(refused.value)


@given(st.text(max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_an_address_or_refused(monkeypatch, text):
    def offline(host, port, **rest):
        host.encode("idna")
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", offline)
    with pytest.raises(UsageError, match="--web"):
        listen_address(text, "--web")


def test_an_address_this_machine_has_not_is_refused_with_the_remedy():
    with pytest.raises(UsageError, match=r"cannot listen on http://192\.0\.2\.1:8000/ .*Choose an address of this"):
        web("192.0.2.1:8000").__enter__()


def test_a_port_that_is_taken_is_refused_with_the_remedy():
    with web() as sink, pytest.raises(UsageError, match=r"--web: cannot listen on .*in use.*Choose another port"):
        web(str(sink.server.port)).__enter__()


def test_localhost_listens_on_all_of_its_addresses():
    with web("localhost:0") as sink:
        hosts = {place[0] for _, place in listen_address("localhost:0", "--web").places}
        for host in hosts:
            assert code(raw(sink, get("/", f"Host: localhost:{sink.server.port}"), host)) == 200


@pytest.mark.parametrize("flag", ["--web", "--metrics"])
@pytest.mark.parametrize("address", ["a..b:80", f"{'x' * 70}:80", "192.0.2.1:80", "taken"])
def test_a_refused_address_ends_the_program_before_it_begins(flag, address, capsys, tmp_path, mediapipe_file):
    """Also before a camera is waited for that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1]) if address == "taken" else address
        silent = f"rtsp://127.0.0.1:{free_port()}/live"
        out = tmp_path / "faces.jsonl"
        assert main(["--source", silent, flag, taken, "--jsonl", str(out), "--quiet"]) == 2
    err = capsys.readouterr().err
    assert f"fer-edge: {flag}: " in err and err.count("\n") == 1 and "web page at" not in err
    assert not out.exists()


# --- What every answer carries -------------------------------------------------------------------------------------

_LOCAL = "Host: localhost"


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (get("/", _LOCAL), 200),
        (get("/events", _LOCAL, "Sec-Fetch-Site: cross-site"), 403),
        (get("/", "Host: evil.example"), 403),
        (get("/nothing", _LOCAL), 404),
        (get("/", _LOCAL).replace(b"GET", b"HEAD"), 200),
        (get("/", _LOCAL).replace(b"GET", b"POST"), 405),
        (get("/", _LOCAL).replace(b"GET", b"OPTIONS"), 200),
        (get("/", _LOCAL, "Content-Length: 99999999"), 413),
        (b"nonsense\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (get("/", _LOCAL, "Content-Length: -5"), 400),
        (get("/", _LOCAL, "Content-Length: \xb2"), 400),
        (get("/", _LOCAL, "no colon"), 400),
        (get("/?token=%FF%GG", _LOCAL), 400),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", 400),
        (get("/", _LOCAL, "X: " + "y" * 20_000), 400),
        (get("/", _LOCAL, *[f"X-{n}: {'y' * 1000}" for n in range(50)]), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403),
    ],
)
def test_every_answer_has_the_security_headers_and_nothing_is_logged(request_bytes, expected, caplog, capfd):
    with web() as sink:
        answer = raw(sink, request_bytes)
    assert code(answer) == expected
    head = answer.partition(b"\r\n\r\n")[0].decode()
    assert not [name for name in SECURITY_HEADERS if f"\r\n{name}: " not in head], head
    assert "Cross-Origin-Resource-Policy: same-origin" in head and " N/A" not in head
    assert "Traceback" not in capfd.readouterr().err
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


def test_a_wrong_token_and_a_full_house_have_them_too():
    with web("0.0.0.0:0", TOKEN, max_viewers=1) as sink, feeding(sink, scene(0)):
        refused = raw(sink, get("/", "Host: x"))
        assert code(refused) == 401 and b"WWW-Authenticate: Bearer" in refused
        moved = raw(sink, get(f"/?token={TOKEN}", "Host: x"))
        assert code(moved) == 302
        with asked(sink, f"/events?token={TOKEN}") as response:
            next_event(response)
            full = raw(sink, get(f"/events?token={TOKEN}", "Host: x"))
        assert code(full) == 503 and b"Retry-After: " in full and b"1 viewers are watching" in full
    for answer in (refused, moved, full):
        assert all(f"\r\n{name}: ".encode() in answer for name in SECURITY_HEADERS)


def test_a_malformed_request_is_one_line_at_debug_level(caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with web() as sink:
        for _ in range(5):
            assert code(raw(sink, b"\xff\xfe\r\n\r\n")) == 400
    lines = [record for record in caplog.records if "not a request" in record.getMessage()]
    assert len(lines) == 5 and {record.levelno for record in lines} == {logging.DEBUG}
    assert all("\n" not in record.getMessage() and record.exc_info is None for record in lines)
    assert "Traceback" not in capfd.readouterr().err


def test_a_part_of_the_program_that_fails_is_one_line_and_a_500(caplog, capfd):
    with web() as sink:
        sink.server._routes["/events"]  # the route that fails below
        sink.view.state = None
        sink.server.stream = None
        assert status(sink, "/events") == 500
        assert status(sink, "/") == 200
    assert caplog.text.count("web server: /events failed: TypeError") == 1
    assert "Traceback" not in capfd.readouterr().err


_tokens = st.sampled_from(
    [
        *(
            b"GET",
            b"HEAD",
            b" ",
            b"/",
            b"?token=",
            b"HTTP/1.1",
            b"\r\n",
            b"\n",
            b"Host: localhost",
            b":",
            b"\0",
            b"\xff",
            b"%",
        ),
        *(
            b"Content-Length: ",
            b"Cookie: ",
            b"9" * 30,
            b"Transfer-Encoding: chunked",
            b"\r\n\r\n",
            b"x" * 3000,
            b"a=b;",
        ),
    ],
)


@pytest.fixture(scope="module")
def page():
    with web() as sink:
        yield sink


@given(st.lists(_tokens | st.binary(max_size=20), max_size=20))
@settings(deadline=None, max_examples=200)
def test_any_bytes_get_an_answer_or_none_and_the_next_visitor_his(page, parts):
    answer = raw(page, b"".join(parts) + b"\r\n\r\n")
    assert code(answer) in (None, 200, 204, 400, 403, 404, 405, 413)
    assert code(raw(page, get("/", _LOCAL))) == 200


# --- What nobody can use up ----------------------------------------------------------------------------------------


def is_closed(client):
    client.settimeout(0.01)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


class Clients(list):
    """Sockets. `reopened` of them were cut off and opened again."""

    reopened = 0

    def again(self, count):
        """Return once `count` more were opened again."""
        before = self.reopened
        eventually(lambda: self.reopened >= before + count)


@contextlib.contextmanager
def half_open(sink, count, sources=("127.0.0.1",), *, again=False):
    """Clients that begin a request and say no more; `again` opens each again as soon as it is cut off."""
    stop = threading.Event()
    clients = Clients()

    def one(number):
        source = sources[number % len(sources)]
        client = socket.create_connection(("127.0.0.1", sink.server.port), 10, (source, 0))
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\n")
        return client

    def reopen():
        while not stop.wait(0.02):
            for number, client in enumerate(clients):
                if is_closed(client):
                    client.close()
                    clients[number] = one(number)
                    clients.reopened += 1

    clients += [one(number) for number in range(count)]
    thread = threading.Thread(target=reopen)
    if again:
        thread.start()
    try:
        yield clients
    finally:
        stop.set()
        if again:
            thread.join()
        for client in clients:
            client.close()


def test_one_address_has_a_share_of_the_connections(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", 60)
    with web("0.0.0.0:0") as sink, half_open(sink, 60) as many, half_open(sink, 5, ["127.0.0.2"]) as others:
        eventually(lambda: sum(map(is_closed, many)) == 60 - connections.SHARE)
        assert not any(map(is_closed, others))


def test_all_addresses_together_have_bounded_places(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", 60)
    monkeypatch.setattr(connections, "MAX_PENDING", 30)
    sources = [f"127.0.1.{number}" for number in range(1, 11)]
    with web("0.0.0.0:0") as sink, half_open(sink, 50, sources) as many:
        eventually(lambda: sum(map(is_closed, many)) == 20)


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.9"])
def test_half_open_requests_lock_nobody_with_the_token_out(source):
    """Sixty of one address, opened again as they are cut off; 24 honest requests from there and from elsewhere."""
    with web("0.0.0.0:0", TOKEN) as sink, half_open(sink, 60, again=True) as attack:
        for _ in range(24):
            answer = raw(sink, get("/page.js", "Host: x", f"Authorization: Bearer {TOKEN}"), source=source)
            assert code(answer) == 200
            attack.again(3)


def test_who_begins_a_request_and_says_no_more_is_cut_off_soon(monkeypatch, capfd):
    assert connections.HEAD_S == 2
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    with web() as sink, feeding(sink, scene(0)), asked(sink, "/events") as events, half_open(sink, 40) as clients:
        next_event(events)
        eventually(lambda: all(map(is_closed, clients)))
        assert status(sink, "/") == 200
        sink.write(*scene(1))
        for _ in range(3):
            next_event(events)  # a stream has no end
    assert "Traceback" not in capfd.readouterr().err


def test_a_request_in_small_pieces_must_be_whole_in_time_too(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    with web() as sink, socket.create_connection(("127.0.0.1", sink.server.port), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")

        def is_cut_off():
            with contextlib.suppress(ConnectionError):
                client.sendall(b"X: y\r\n")
            return is_closed(client)

        eventually(is_cut_off)


def test_twenty_visitors_at_once_are_all_answered():
    with web() as sink, ExitStack() as held:
        clients = []
        for _ in range(20):
            for path in ("/", "/page.css", "/page.js", "/icon.svg"):
                client = http.client.HTTPConnection("127.0.0.1", sink.server.port, timeout=10)
                held.callback(client.close)
                client.request("GET", path)
                clients.append(client)
        assert {client.getresponse().status for client in clients} == {200}


def test_a_viewer_who_takes_nothing_any_more_loses_the_place(monkeypatch):
    monkeypatch.setattr(connections, "STALLED_S", 0.5)
    with (
        web() as sink,
        feeding(sink, scene(0), scene(1)),
        socket.create_connection(("127.0.0.1", sink.server.port), 10) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(get("/stream.mjpg", _LOCAL))
        eventually(lambda: sink.view.viewers == 1)
        eventually(lambda: sink.view.viewers == 0, timeout_s=60)


def test_only_so_many_may_watch_at_once_and_the_next_is_told_why():
    with web() as sink, feeding(sink, scene(0), scene(1)):
        with ExitStack() as held:
            for _ in range(8):
                next_picture(held.enter_context(asked(sink, "/stream.mjpg")))
                next_event(held.enter_context(asked(sink, "/events")))
            for path in ("/stream.mjpg", "/events"):
                with asked(sink, path) as refused:
                    assert refused.status == 503 and b"8 viewers are watching" in refused.read()
            assert status(sink, "/") == 200, "it is not a stream"
        eventually(lambda: status(sink, "/events") == 200)  # those who left make room


@dataclass(eq=False)
class Viewer:
    """Of a Connection what the bounds look at."""

    client: str
    stream: str | None = "/events"

    @property
    def share(self):
        return share_of(self.client)


def test_one_address_has_half_of_the_places_of_viewers():
    places = Connections(max_viewers=8)
    places._admitted = {Viewer("10.0.0.5") for _ in range(4)}
    assert "at your address" in places.no_room(Viewer("10.0.0.5", None), "/events")
    assert places.no_room(Viewer("10.0.0.6", None), "/events") is None
    assert places.no_room(Viewer("10.0.0.5", None), "/stream.mjpg") is None
    places._admitted = {Viewer("127.0.0.1") for _ in range(7)}
    assert places.no_room(Viewer("127.0.0.1", None), "/events") is None, "a tunnel or a proxy is many people"
    assert Connections(max_viewers=1).no_room(Viewer("10.0.0.5", None), "/events") is None


def test_an_ipv6_client_has_a_whole_network_and_one_share():
    assert share_of("2001:db8::1") == share_of("2001:db8::ffff:1") != share_of("2001:db8:0:1::1")
    assert share_of("::ffff:10.0.0.5") == share_of("10.0.0.5") != share_of("10.0.0.6")
    assert share_of("fe80::1%eth0") == share_of("fe80::2%eth0")
