"""Who may do what in the console, and what strangers are told."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.errors import OptionError
from tests.parts.console import PASSWORD, Pages
from tests.parts.records import record
from triton_repo.console.people.invitation import Invitation
from triton_repo.console.people.sessions import Tries
from triton_repo.console.settings import ConsoleSettings

PAGES = ("/", "/archive", "/inspections/1", "/inspections/1/picture.jpg", "/live/stream")


@pytest.mark.parametrize("path", [*PAGES, "/review", "/people", "/password", "/api"])
def test_nobody_sees_a_page_without_signing_in(pages: Pages, path: str) -> None:
    answer = pages.visitor().get(f"{path}?product=x")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/sign-in?then={path}%3Fproduct%3Dx"


@pytest.mark.parametrize("path", ["/api/inspections", "/api/counters", "/api/stream", "/metrics"])
def test_a_program_without_a_token_is_told_how_to_get_one(pages: Pages, path: str) -> None:
    answer = pages.visitor().get(path)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "an engineer makes" in answer.json()["detail"]


def test_a_viewer_looks_an_operator_reviews_and_an_engineer_changes(pages: Pages) -> None:
    pages.write(record(0))
    may = {
        "viewer": (200, 403, 403),
        "operator": (200, 200, 403),
        "engineer": (200, 200, 200),
    }
    for role, expected in may.items():
        visitor = pages.visitor(role)  # type: ignore[arg-type]
        statuses = tuple(visitor.get(path).status_code for path in ("/", "/review", "/people"))
        assert statuses == expected, role
        said = visitor.post(
            "/review/1", data={"review": "good", "csrf": pages.csrf(visitor)}
        ).status_code
        assert said == expected[1], role


def test_wrong_passwords_are_not_told_apart_from_unknown_names_and_have_to_wait_after_five(
    pages: Pages,
) -> None:
    pages.console.people.add("Ada", "viewer", PASSWORD, by="test")
    visitor = pages.visitor()

    def sign_in(name: str, password: str) -> tuple[int, str]:
        answer = visitor.post("/sign-in", data={"name": name, "password": password, "then": "/"})
        found = re.search('role="alert">([^<]*)<', answer.text)
        return answer.status_code, found[1] if found else ""

    wrong = (401, "name and password do not belong together.")
    assert sign_in("Ada", "another password") == wrong
    assert [sign_in("Bob", PASSWORD) for _ in range(4)] == [wrong] * 4
    status, words = sign_in("Ada", PASSWORD)
    assert status == 429
    assert re.fullmatch(r"too many wrong passwords; try again in \d+ s\.", words)


def test_many_tries_at_once_are_no_way_around_the_wait() -> None:
    tries = Tries()
    with ThreadPoolExecutor(20) as pool:
        waits = list(pool.map(lambda _: tries.begin("name Ada"), range(20)))
    assert sum(wait == 0 for wait in waits) == 5
    tries.right("name Ada")
    assert tries.begin("name Ada") == 0


def test_signing_in_leads_on_inside_the_console_alone(pages: Pages) -> None:
    pages.console.people.add("Ada", "viewer", PASSWORD, by="test")
    for then, expected in (
        ("/archive?verdict=good", "/archive?verdict=good"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example/", "/"),
        ("/\\elsewhere.example/", "/"),
        ("/\nelsewhere", "/"),
    ):
        form = {"name": "Ada", "password": PASSWORD, "then": then}
        answer = pages.visitor().post("/sign-in", data=form)
        assert answer.headers["Location"] == expected
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie


def test_a_session_that_has_ended_has_to_sign_in_again(pages: Pages) -> None:
    pages.console.people.add("Ada", "viewer", PASSWORD, by="test")
    visitor = pages.visitor()
    visitor.cookies.set("l2bt_session", pages.console.sessions.begin("Ada", lasts_s=600))
    assert visitor.get("/").status_code == 200
    visitor = pages.visitor()
    visitor.cookies.set("l2bt_session", pages.console.sessions.begin("Ada", lasts_s=-0.001))
    assert visitor.get("/").status_code == 303
    form = visitor.post("/review/undo", headers={"HX-Request": "true"})
    assert (form.status_code, form.headers["HX-Redirect"]) == (401, "/sign-in")


def test_a_change_without_the_secret_of_the_page_or_from_another_site_is_refused(
    pages: Pages,
) -> None:
    engineer = pages.visitor("engineer")
    csrf = pages.csrf(engineer)
    form = {"name": "Eve", "role": "engineer", "password": PASSWORD}
    for wrong in ({}, {"csrf": "another"}):
        answer = engineer.post("/people/add", data={**form, **wrong})
        assert answer.status_code == 403
        assert "did not come from a page of this session" in answer.text
    for elsewhere in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = engineer.post("/people/add", data={**form, "csrf": csrf}, headers=elsewhere)
        assert answer.status_code == 403
    assert [person.name for person in pages.console.people.all()] == ["engineer"]
    assert engineer.post("/people/add", data={**form, "csrf": csrf}).status_code == 303


def test_a_name_of_another_site_that_leads_here_is_not_answered(pages: Pages) -> None:
    assert pages.visitor().get("/sign-in", headers={"Host": "evil.example"}).status_code == 400


def test_an_engineer_lets_people_in_and_out_and_the_trail_says_who_did(pages: Pages) -> None:
    engineer = pages.visitor("engineer")
    csrf = pages.csrf(engineer)

    def send(path: str, **form: str) -> str:
        return engineer.post(path, data={**form, "csrf": csrf}, follow_redirects=True).text

    send("/people/add", name="Bob", role="operator", password=PASSWORD)
    bob = pages.visitor()
    bob.cookies.set("l2bt_session", pages.console.sessions.begin("Bob"))
    assert bob.get("/review").status_code == 200
    assert "Bob can sign in already" in send(
        "/people/add", name="Bob", role="viewer", password=PASSWORD
    )
    assert "10 to 200 characters" in send("/people/add", name="Cy", role="viewer", password="short")
    assert "expected one of viewer" in send(
        "/people/add", name="Cy", role="king", password=PASSWORD
    )
    assert "the last engineer" in send("/people/remove", name="engineer")
    send("/people/remove", name="Bob")
    assert bob.get("/review").status_code == 303
    trail = [(one["who"], one["what"]) for one in pages.console.people.audit()]
    assert trail[:2] == [
        ("engineer", "Bob may sign in no longer"),
        ("engineer", "Bob may sign in as operator"),
    ]


def test_another_password_ends_all_sessions_and_needs_the_present_one(pages: Pages) -> None:
    viewer = pages.visitor("viewer")
    csrf = pages.csrf(viewer)
    form = {"before": "wrong password", "password": "a new password", "again": "a new password"}
    answer = viewer.post("/password", data={**form, "csrf": csrf})
    assert (answer.status_code, "the present password is another" in answer.text) == (400, True)
    answer = viewer.post("/password", data={**form, "before": PASSWORD, "csrf": csrf})
    assert answer.headers["Location"] == "/sign-in"
    assert pages.console.people.check("viewer", "a new password") is not None
    viewer.cookies.set("l2bt_session", answer.request.headers["Cookie"].partition("=")[2])
    assert viewer.get("/").status_code == 303


def test_passwords_and_tokens_do_not_stand_in_the_database(pages: Pages) -> None:
    pages.console.people.add("Ada", "viewer", PASSWORD, by="test")
    token = pages.console.sessions.begin("Ada")
    folder = Path(pages.console.settings.database).parent
    written = b"".join(path.read_bytes() for path in folder.glob("archive.sqlite*"))
    assert b"$argon2id$" in written
    assert PASSWORD.encode() not in written
    assert token.encode() not in written


def test_the_first_link_holds_once_and_not_where_somebody_can_sign_in(pages: Pages) -> None:
    people = pages.console.people
    invitation = Invitation("the key")
    with pytest.raises(OptionError, match="its latest start printed"):
        invitation.accept("another key", people, name="Eve", password=PASSWORD)
    with pytest.raises(OptionError, match="10 to 200 characters"):
        invitation.accept("the key", people, name="Ada", password="short")
    assert invitation.accept("the key", people, name="Ada", password=PASSWORD).role == "engineer"
    with pytest.raises(OptionError, match="has been used"):
        invitation.accept("the key", people, name="Eve", password=PASSWORD)
    assert not Invitation(None).holds("")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"host": "0.0.0.0"}, "reads its passwords; give --tls-certificate"),
        ({"port": 70000}, "port is 70000"),
        ({"shift_starts": ("25:00",)}, "a shift begins at '25:00'"),
        ({"shift_starts": ()}, "no shift begins"),
        ({"keep_days": 0}, "keep_days is 0"),
        ({"tls_key": Path("key.pem")}, "give both"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=re.escape(words)):
        ConsoleSettings(**wrong)  # type: ignore[arg-type]


def test_what_comes_from_outside_is_shown_and_not_run(pages: Pages) -> None:
    script = "<script>alert(1)</script>"
    engineer = pages.visitor("engineer")
    form = {"name": script, "role": "viewer", "password": PASSWORD, "csrf": pages.csrf(engineer)}
    engineer.post("/people/add", data=form)
    page = engineer.get("/people")
    assert script not in page.text
    assert "&lt;script&gt;" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
