"""Where settings come from, and which place wins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from umami_ops.errors import OpsError, UsageFault
from umami_ops.places import gather
from umami_ops.settings import load

SECRET = "s3same"


def _url(host: str) -> str:
    return f"postgresql://u:{SECRET}@{host}/d"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and no variables of ours."""
    for name in ("DATABASE_URL", "DIRECT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_place_outranks_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "umami-ops.toml").write_text(f'database_url = "{_url("toml")}"\n')
    assert load().database().host == "toml"
    (folder / ".env").write_text(f"APP_SECRET=x\nDATABASE_URL='{_url('dotenv')}'\n")
    assert load().database().host == "dotenv"
    monkeypatch.setenv("DATABASE_URL", _url("environment"))
    assert load().database().host == "environment"
    assert load(url=_url("flag")).database().host == "flag"


def test_a_file_of_a_higher_place_outranks_a_url_of_a_lower_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text(f"DATABASE_URL={_url('dotenv')}\n")
    (folder / "secret").write_text(_url("secret"))
    monkeypatch.setenv("DATABASE_URL_FILE", "secret")
    assert load().database().host == "secret"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_ends_before_its_newline(ending: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "secret").write_bytes((_url("secret") + ending).encode())
    monkeypatch.setenv("DATABASE_URL_FILE", str(folder / "secret"))
    assert load().database().database == "d"


def test_a_url_and_a_file_in_one_place_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "secret").write_text(_url("secret"))
    monkeypatch.setenv("DATABASE_URL", _url("environment"))
    monkeypatch.setenv("DATABASE_URL_FILE", "secret")
    with pytest.raises(
        UsageFault, match="Both DATABASE_URL and DATABASE_URL_FILE are set in the environment"
    ):
        load()
    assert load(url=_url("flag")).database().host == "flag"


def test_a_missing_secret_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "/run/secrets/nothing")
    with pytest.raises(OpsError) as caught:
        load()
    assert caught.value.message == (
        "DATABASE_URL_FILE names /run/secrets/nothing, which can't be read: No such file or directory."
    )
    assert caught.value.exit_code == 1


def test_a_secret_that_is_a_folder_or_no_text_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", str(folder))
    with pytest.raises(OpsError, match="can't be read"):
        load()
    (folder / "secret").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("DATABASE_URL_FILE", "secret")
    with pytest.raises(UsageFault, match="not UTF-8"):
        load()


def test_a_secret_may_begin_with_a_mark_and_end_with_empty_lines(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "secret").write_bytes(b"\xef\xbb\xbf" + f"\n{_url('secret')}\r\n \n".encode())
    monkeypatch.setenv("DATABASE_URL_FILE", "secret")
    assert load().database().host == "secret"


def test_a_secret_of_two_lines_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "secret").write_text(f"{_url('one')}\n{_url('two')}\n")
    monkeypatch.setenv("DATABASE_URL_FILE", "secret")
    with pytest.raises(UsageFault, match="^DATABASE_URL_FILE names secret, which holds 2 lines") as caught:
        load()
    assert SECRET not in caught.value.message


def test_a_secret_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "/dev/zero")
    with pytest.raises(UsageFault, match="/dev/zero, which is too long to be a URL"):
        load()


@pytest.mark.parametrize("name", [".env", "umami-ops.toml"])
def test_a_directory_in_a_files_place_is_said(name: str, folder: Path) -> None:
    # Docker makes one where the file of a bind mount is missing.
    (folder / name).mkdir()
    with pytest.raises(OpsError, match=rf"(?i){name} can't be read: .*is a directory"):
        load()


def test_an_unclosed_quote_in_dotenv_is_named_with_its_line(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / ".env").write_text(f"A=1\n\n\nDATABASE_URL='{_url('dotenv')}\nB=2\n")
    with pytest.raises(UsageFault, match=r"^\.env line 4 can't be understood") as caught:
        load()
    assert SECRET not in caught.value.message
    assert caplog.text == ""


def test_an_odd_line_in_dotenv_about_something_else_does_not_matter(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / ".env").write_bytes(b"\xef\xbb\xbf" + f"DATABASE_URL={_url('dotenv')}\nSALT='x\n".encode())
    assert load().database().host == "dotenv"
    assert caplog.text == ""


def test_an_empty_variable_is_not_the_same_as_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text(f"DATABASE_URL={_url('dotenv')}\n")
    monkeypatch.setenv("DATABASE_URL", "")
    with pytest.raises(UsageFault, match="^DATABASE_URL is empty"):
        load().database()
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", "")
    with pytest.raises(UsageFault, match="^DATABASE_URL_FILE is empty"):
        load().database()


def test_an_empty_one_of_the_two_yields_to_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "secret").write_text(_url("secret"))
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("DATABASE_URL_FILE", "secret")
    assert load().database().host == "secret"
    monkeypatch.setenv("DATABASE_URL", _url("environment"))
    monkeypatch.setenv("DATABASE_URL_FILE", "")
    assert load().database().host == "environment"


def test_without_any_url_the_hint_says_where_to_put_one() -> None:
    with pytest.raises(UsageFault) as caught:
        load().database()
    assert "DATABASE_URL" in (caught.value.hint or "")


def test_the_direct_url_serves_what_needs_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", _url("pooler"))
    assert load().database(needs_session=True).host == "pooler"
    monkeypatch.setenv("DIRECT_DATABASE_URL", _url("server"))
    assert load().database().host == "pooler"
    assert load().database(needs_session=True).host == "server"


def test_a_direct_url_never_leads_away_from_a_url_of_higher_rank(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text(
        f"DATABASE_URL={_url('production')}\nDIRECT_DATABASE_URL={_url('production')}\n"
    )
    assert load().database(needs_session=True).host == "production"
    monkeypatch.setenv("DATABASE_URL", _url("test"))
    assert load().database(needs_session=True).host == "test"
    assert load(url=_url("flag")).database(needs_session=True).host == "flag"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('\ndatabase_url = "a\n', "umami-ops.toml line 2, key database_url: "),
        ("database_url = 5\n", "umami-ops.toml line 1: database_url must be text in quotes."),
        ('# ours\n\ndatabse_url = "x"\n', "umami-ops.toml line 3: there is no setting 'databse_url'."),
        ("[database]\nurl = 'x'\n", "umami-ops.toml line 1: there is no setting 'database'."),
    ],
)
def test_a_wrong_settings_file_is_named_with_line_and_key(text: str, message: str, folder: Path) -> None:
    (folder / "umami-ops.toml").write_text(text)
    with pytest.raises(UsageFault) as caught:
        load()
    assert caught.value.message.startswith(message)


def test_a_misspelt_setting_gets_a_suggestion(folder: Path) -> None:
    (folder / "umami-ops.toml").write_text('databse_url = "x"\n')
    with pytest.raises(UsageFault) as caught:
        load()
    assert caught.value.hint == "Did you mean database_url?"


def test_a_named_settings_file_must_exist_and_takes_the_place_of_the_default(folder: Path) -> None:
    with pytest.raises(OpsError, match=r"other\.toml can't be read"):
        load(config=Path("other.toml"))
    (folder / "umami-ops.toml").write_text("not toml")
    (folder / "other.toml").write_text(f'database_url = "{_url("other")}"\n')
    assert load(config=Path("other.toml")).database().host == "other"


def test_no_repr_holds_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", _url("h"))
    monkeypatch.setenv("DIRECT_DATABASE_URL", _url("h"))
    settings = load()
    assert SECRET not in f"{settings!r} {settings} {settings.database()!r} {settings.model_dump()}"
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("place", "source"),
    [("environment", "DATABASE_URL"), ("file", "DATABASE_URL_FILE"), (".env", "DATABASE_URL in .env")],
)
def test_a_malformed_url_is_blamed_on_its_place(
    place: str, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    match place:
        case "environment":
            monkeypatch.setenv("DATABASE_URL", f"oracle://{SECRET}")
        case "file":
            (folder / "secret").write_text(f"oracle://{SECRET}")
            monkeypatch.setenv("DATABASE_URL_FILE", "secret")
        case _:
            (folder / ".env").write_text(f"DATABASE_URL=oracle://{SECRET}\n")
    with pytest.raises(UsageFault) as caught:
        load().database()
    assert caught.value.message.startswith(source)
    assert SECRET not in caught.value.message


def test_thresholds_of_health_count_each_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "umami-ops.toml").write_text("[health]\ndead_rows = 1\nsample_rows = 1\nbloat_bytes = 1\n")
    (folder / ".env").write_text("UMAMI_OPS_HEALTH_DEAD_ROWS=2\nUMAMI_OPS_HEALTH_SAMPLE_ROWS=2\n")
    monkeypatch.setenv("UMAMI_OPS_HEALTH_DEAD_ROWS", "3")
    limits = load().health
    assert (limits.dead_rows, limits.sample_rows, limits.bloat_bytes) == (3, 2, 1)
    assert limits.silence_hours == 24


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[health]\ndead_row = 1\n", "there is no setting 'dead_row'.", "Did you mean dead_rows?"),
        ("[health]\nzebra = 1\n", "there is no setting 'zebra'.", "docs/health.md lists them all."),
        (
            "[health]\ndead_rows = 'many'\n",
            "umami-ops.toml line 2: health.dead_rows is not usable: it must be a whole number.",
            "It means: fewer dead rows than this never matter; by default 50000.",
        ),
        (
            "[health]\ndead_rows = -1\n",
            "umami-ops.toml line 2: health.dead_rows is not usable: dead_rows is below 0.",
            "It means: fewer dead rows than this never matter; by default 50000.",
        ),
        ("health = 5\n", "health must be a table of numbers.", None),
    ],
)
def test_a_wrong_threshold_is_named(text: str, message: str, hint: str | None, folder: Path) -> None:
    (folder / "umami-ops.toml").write_text(text)
    with pytest.raises(UsageFault) as caught:
        load()
    assert message in caught.value.message
    assert caught.value.hint == hint


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMAMI_OPS_HEALTH_DEAD_ROW", "3")
    with pytest.raises(UsageFault, match="UMAMI_OPS_HEALTH_DEAD_ROW is no setting") as caught:
        load()
    assert caught.value.hint == "Did you mean UMAMI_OPS_HEALTH_DEAD_ROWS?"


def test_a_store_that_is_left_empty_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "umami-ops.toml").write_text("umami_ops_store = 'there'\n")
    monkeypatch.setenv("UMAMI_OPS_STORE", "")
    assert load().umami_ops_store == "there"


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [("DEAD_ROWS", " 7 ", 7), ("SILENCE_HOURS", "1.5", 1.5), ("SILENCE_HOURS", "2", 2.0)],
)
def test_a_variable_s_text_is_a_number(
    name: str, value: str, number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"UMAMI_OPS_HEALTH_{name}", value)
    assert getattr(load().health, name.lower()) == number


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("DEAD_ROWS", "1.5", "it must be a whole number"),
        ("DEAD_ROWS", "inf", "it must be a whole number"),
        ("SILENCE_HOURS", "nan", "silence_hours is no number"),
        ("SILENCE_HOURS", "long", "it must be a number"),
    ],
)
def test_a_variable_that_is_no_number_is_named(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"UMAMI_OPS_HEALTH_{name}", value)
    with pytest.raises(UsageFault, match=f"^UMAMI_OPS_HEALTH_{name} is not usable: {reason}"):
        load()


@pytest.mark.parametrize("value", ["1.5", "[1]", "'x'", "inf"])
def test_a_value_of_the_file_that_is_no_whole_number_is_named(value: str, folder: Path) -> None:
    (folder / "umami-ops.toml").write_text(f"[health]\ndead_rows = {value}\n")
    with pytest.raises(
        UsageFault, match="line 2: health.dead_rows is not usable: it must be a (whole )?number"
    ):
        load()


def test_a_dotenv_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / ".env").write_bytes(b"A=\xff\n")
    for read in (load, gather):
        with pytest.raises(UsageFault, match=r"\.env is not UTF-8"):
            read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_is_closed_to_this_user_holds_no_settings(folder: Path) -> None:
    """As root's home is to `sudo -u postgres umami-ops info`."""
    folder.chmod(0o700)
    (folder / "umami-ops.toml").write_text("no settings at all")
    (folder / ".env").write_text("DATABASE_URL='not closed")
    with pytest.raises(UsageFault):
        gather()
    os.setresuid(12_345, 12_345, 0)
    try:
        places = gather()
        settings = load(url=_url("flag"))
    finally:
        os.setresuid(0, 0, 0)
    assert (places.dotenv, places.file.values) == ({}, {})
    assert settings.database().host == "flag"
