"""The newcomer's own path, on a fresh minimal Debian: a clone of this tree, and `./up` as the README says.

The tests are one story and run in this order: a clean host is only looked at, bad wishes are refused, it
is converged, used, measured, rebooted, and cleared.
"""

from __future__ import annotations

import json
import re
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
import pytest
import yaml

from tests.hosts.client import MODEL, Client
from tests.hosts.tree import TOP, pack
from tests.lab import Host, Lab
from tests.readme import README, Block, block, blocks

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = pytest.mark.lab

CLONE = "/root/sglang-piper"
SECRETS = f"{CLONE}/inventory/secrets"
CLIENT_FILES = f"{SECRETS}/localhost"
UNITS = ["sglang", "tts-engine", "tts-gateway", "nginx", "prometheus", "prometheus-node-exporter"]
# The whole of a first ./up on two busy cores; longer means that it hangs.
UP_TIMEOUT_S = 1500.0
PLAYBOOK_TIMEOUT_S = 600.0
# Any English voice speaks between 8 and 30 characters a second.
SLOWEST_CHARACTERS_PER_S, FASTEST_CHARACTERS_PER_S = 8.0, 30.0


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = lab.up("newcomer", flavour="minimal")
    archive = tmp_path_factory.mktemp("tree") / "tree.tar"
    pack(archive)
    host.put(archive, "/root/tree.tar")
    host.run(f"mkdir {CLONE} && tar -C {CLONE} -xf /root/tree.tar")
    yield host
    lab.down(host)


@pytest.fixture(scope="module")
def client(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Client:
    certificate = tmp_path_factory.mktemp("client") / "edge.crt"
    host.get(f"{CLIENT_FILES}/edge.crt", certificate)
    return Client(host.ip, certificate, host.run(f"cat {CLIENT_FILES}/key").stdout.strip())


def playbook(host: Host, arguments: str) -> tuple[int, str]:
    """Run ansible-playbook in the clone, as the README says; return its exit code and all it printed."""
    done = host.run(
        f"cd {CLONE} && .venv/bin/ansible-playbook {arguments} 2>&1",
        check=False,
        timeout_s=PLAYBOOK_TIMEOUT_S,
    )
    return done.returncode, done.stdout


def readme(host: Host, command: Block, more: str = "") -> tuple[int, str]:
    """Run a command of the README in the clone; return its exit code and all it printed."""
    done = host.run(f"cd {CLONE} && {command.code.strip()} {more} 2>&1", check=False, timeout_s=UP_TIMEOUT_S)
    return done.returncode, done.stdout


def recap(output: str) -> dict[str, int]:
    """The sums of Ansible's recap over all hosts."""
    rows = re.findall(r"(ok|changed|unreachable|failed)=(\d+)", output)
    assert rows, output
    sums: dict[str, int] = {}
    for name, count in rows:
        sums[name] = sums.get(name, 0) + int(count)
    return sums


def assert_untouched(host: Host) -> None:
    """Nothing of ours is on the host, and nothing listens but ssh."""
    left = host.run("ls -d /opt/* /etc/nginx /etc/prometheus /usr/local/lib/sglang-piper 2>/dev/null; true")
    assert [
        path for path in left.stdout.split() if not path.startswith("/opt/pypi") and path != "/opt/wheels"
    ] == []
    assert host.run("id sglang", check=False).returncode != 0


def test_check_mode_on_the_clean_host_changes_nothing(host: Host) -> None:
    done = host.run(f"cd {CLONE} && ./up --check 2>&1", check=False, timeout_s=UP_TIMEOUT_S)
    assert done.returncode == 0, done.stdout[-4000:]
    assert recap(done.stdout)["failed"] == 0
    assert_untouched(host)


@pytest.mark.parametrize(
    ("wish", "cause", "way_out"),
    [
        ("-e models_hub_endpoint=http://127.0.0.1:9", "cannot get Qwen/", "models_source=demo"),
        ("-e models_source=directory -e models_directory=/nope", "/nope", "correct models_directory"),
        ("-e models_source=demmo", "demmo", "hub, directory, demo"),
        (
            """-e '{"voices_list": [{"name": "x", "path": "/nope"}]}'""",
            "voice x is not in /nope",
            "voices_list",
        ),
        ("-e host_min_memory_mb=100000000", "MB of memory", "host_min_memory_mb"),
        ("-e host_min_disk_mb=100000000", "MB free below", "Free some space"),
        ("-e edge_tls=files -e edge_tls_key=/nope.key", "/nope.key", "self_signed"),
    ],
)
def test_a_bad_wish_is_refused_before_anything_is_changed(
    host: Host, wish: str, cause: str, way_out: str
) -> None:
    code, output = playbook(
        host, f"site.yml -e models_source=demo {wish}" if "models_" not in wish else f"site.yml {wish}"
    )
    message = " ".join(output.split())
    assert code != 0
    assert cause in message, output
    assert way_out in message, output
    assert_untouched(host)


def test_a_taken_port_is_named_with_its_holder(host: Host) -> None:
    host.run("systemd-run --quiet --unit=squatter python3 -m http.server --bind 127.0.0.1 9000")
    deadline = time.monotonic() + 20
    while ":9000" not in host.run("ss -Htln").stdout:
        assert time.monotonic() < deadline, "the squatter does not listen"
        time.sleep(0.1)
    code, output = playbook(host, "site.yml -e models_source=demo")
    host.run("systemctl stop squatter")
    message = " ".join(output.split())
    assert code != 0
    assert "Port 9000 of localhost is held by python3 (squatter.service)" in message, output
    assert "tts-gateway.service needs it" in message
    assert_untouched(host)


def test_up_converges_and_proves_it(host: Host, tmp_path: Path) -> None:
    # Where there is a hub, it is not asked: the answers of the demo model are known.
    code, output = readme(host, block("Two commands"), "-- -e models_hub_endpoint=http://127.0.0.1:9")
    assert code == 0, output[-6000:]
    assert recap(output)["failed"] == 0
    assert "DEMO MODEL is served instead" in " ".join(output.split()), "a fallback must be loud"
    assert "./up --down" in output

    host.get(f"{CLONE}/answer.wav", tmp_path / "answer.wav")
    with wave.open(str(tmp_path / "answer.wav")) as spoken:
        seconds = spoken.getnframes() / spoken.getframerate()
        samples = np.frombuffer(spoken.readframes(spoken.getnframes()), np.int16)
    answer = re.search(r"^I am the demo model.*$", output, re.MULTILINE)
    assert answer, "the answer must be on the terminal"
    assert_is_speech(samples, seconds, answer.group())


def assert_is_speech(samples: np.ndarray[tuple[int], np.dtype[np.int16]], seconds: float, text: str) -> None:
    """Plausible length for `text`, neither silence nor noise at full scale."""
    assert SLOWEST_CHARACTERS_PER_S < len(text) / seconds < FASTEST_CHARACTERS_PER_S, (seconds, text)
    level = float(np.sqrt(np.mean((samples / 32768.0) ** 2)))
    assert 0.01 < level < 0.5, level


def test_a_second_converge_changes_nothing(host: Host) -> None:
    code, output = readme(host, block("Set it up your way"))
    assert code == 0, output[-4000:]
    assert recap(output)["changed"] == 0, [line for line in output.splitlines() if "changed:" in line]


def test_the_secrets_may_be_encrypted(host: Host) -> None:
    vault = f"{CLONE}/.venv/bin/ansible-vault"
    host.run(f"cd {CLONE} && echo open-sesame > /root/vault-password && chmod 600 /root/vault-password")
    host.run(f"cd {CLONE} && {vault} encrypt --vault-password-file /root/vault-password {SECRETS}/main.yml")
    code, output = playbook(host, "playbooks/edge.yml --vault-password-file /root/vault-password")
    locked_code, locked = playbook(host, "playbooks/edge.yml")
    host.run(f"cd {CLONE} && {vault} decrypt --vault-password-file /root/vault-password {SECRETS}/main.yml")
    assert code == 0, output[-2000:]
    assert recap(output)["changed"] == 0
    assert locked_code != 0
    assert "vault secrets" in locked.lower()


def test_every_unit_runs_and_is_enabled(host: Host) -> None:
    assert host.run(["systemctl", "is-active", *UNITS]).stdout.split() == ["active"] * len(UNITS)
    assert host.run(["systemctl", "is-enabled", *UNITS]).stdout.split() == ["enabled"] * len(UNITS)
    assert "0 loaded units" in host.run("systemctl --failed").stdout


@pytest.mark.parametrize("unit", ["sglang", "tts-engine", "tts-gateway"])
def test_every_service_runs_as_itself_in_a_sandbox(host: Host, unit: str) -> None:
    user = host.run(f"ps -o user:32= -p $(systemctl show -P MainPID {unit})").stdout.strip()
    assert user == unit
    judged = host.run(f"systemd-analyze security --no-pager {unit}").stdout
    exposure = float(re.findall(r"exposure level for \S+: ([0-9.]+)", judged)[0])
    assert exposure <= 3.0, judged


def test_only_nginx_and_ssh_face_the_network(host: Host) -> None:
    rows = [line.split() for line in host.run("ss -Htlnp").stdout.splitlines()]
    public = {
        (row[3].rpartition(":")[2], row[-1].split('"')[1])
        for row in rows
        if not row[3].startswith(("127.", "[::1]"))
    }
    assert public == {("443", "nginx"), ("80", "nginx"), ("22", "sshd")}


def test_no_key_can_be_seen(host: Host) -> None:
    keys = yaml.safe_load(host.run(f"cat {SECRETS}/main.yml").stdout)
    secrets = [*keys["secrets_api_keys"].values(), keys["secrets_llm_key"], keys["secrets_llm_admin_key"]]
    assert len(set(secrets)) == 4
    patterns = "\n".join(secrets)
    host.run("cat > /root/patterns && chmod 600 /root/patterns", text=patterns + "\n")
    found = host.run(
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | grep -acFf /root/patterns;"
        " journalctl --no-pager -o cat | grep -cFf /root/patterns;"
        " find /etc /opt/sglang/current/src /opt/tts-* /var/lib /var/log /usr/local /run"
        " -type f -perm /044 -size -4M 2>/dev/null | xargs -r grep -lFf /root/patterns | wc -l; true"
    )
    assert found.stdout.split() == ["0", "0", "0"]
    assert (
        host.run(
            f"stat -c %a {SECRETS}/main.yml {CLIENT_FILES}/key {CLIENT_FILES}/authorization"
        ).stdout.split()
        == ["600"] * 3
    )


@pytest.mark.parametrize("path", ["/v1/models", "/v1/voices", "/tts", "/v1/chat/completions"])
@pytest.mark.parametrize("key", ["", "sk-wrong"])
def test_without_the_key_nothing_answers(client: Client, path: str, key: str) -> None:
    with client.http(key) as http:
        answer = http.get(path)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/flush_cache", "/get_server_info", "/generate", "/v1/../metrics", "/readyz", "/docs"],
)
def test_what_is_not_on_the_list_is_not_there(client: Client, path: str) -> None:
    with client.http() as http:
        assert http.get(path).status_code == 404


def test_plain_http_is_sent_to_https(host: Host) -> None:
    answer = httpx2.get(f"http://{host.ip}/v1/models", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{host.ip}/v1/models")


def test_the_llm_answers_in_english_and_chinese(client: Client) -> None:
    assert "demo model" in client.ask("Hello!")
    assert "示範模型" in client.ask("你好")


def test_a_tool_call_is_a_real_tool_call(client: Client) -> None:
    lessons = conversations()
    weather = next(row for row in lessons["conversations"] if row.get("tools") == ["get_weather"])
    tool: Any = {"type": "function", "function": {"name": "get_weather", **lessons["tools"]["get_weather"]}}
    with client.openai() as sdk:
        answer = sdk.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": weather["messages"][0]["user"]}],
            tools=[tool],
        )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    expected = weather["messages"][1]["call"]
    assert (call.function.name, json.loads(call.function.arguments)) == (
        expected["name"],
        expected["arguments"],
    )


def conversations() -> Any:  # the file is checked by its own tests
    text = (TOP / "roles/models/files/demo_model/conversations.yml").read_text()
    return yaml.safe_load(text)


def test_a_stream_arrives_as_it_is_written(client: Client) -> None:
    question = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "What can you do?"}]}
    arrivals: list[float] = []
    with client.http() as http, http.stream("POST", "/v1/chat/completions", json=question) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for piece in answer.iter_raw():
            arrivals += [time.monotonic()] * bool(piece)
    # A proxy that buffers hands everything over in one piece, at the end.
    assert len(arrivals) >= 10, arrivals
    assert arrivals[-1] - arrivals[0] > 0.02, arrivals


def test_a_body_that_is_too_large_is_refused(client: Client) -> None:
    with client.http() as http:
        answer = http.post("/v1/chat/completions", content=b" " * (5 << 20))
    assert answer.status_code == 413
    assert "4m" in answer.json()["error"]["message"]


def test_the_voice_speaks_through_the_edge(client: Client) -> None:
    text = "The quick brown fox jumps over the lazy dog. It was not amused."
    started, pcm, samples = client.speak(text)
    assert len(pcm) == 2 * samples
    rate = started["audio"]["sample_rate"]
    assert_is_speech(np.frombuffer(pcm, np.int16), samples / rate, text)


def test_prometheus_sees_everything(host: Host) -> None:
    targets = prometheus(host, "targets")["activeTargets"]
    health = {target["labels"]["job"]: (target["health"], target["lastError"]) for target in targets}
    jobs = ["prometheus", "node", "sglang", "tts-gateway", "tts-engine"]
    assert health == dict.fromkeys(jobs, ("up", ""))


def test_every_metric_in_a_rule_exists(host: Host) -> None:
    groups = prometheus(host, "rules")["groups"]
    expressions = [rule["query"] for group in groups for rule in group["rules"]]
    assert expressions
    for expression in expressions:
        selector = re.split(r" (?:==|>|<) ", expression)[0]
        assert prometheus(host, f"query?query={quote(f'count({selector})')}")["result"], expression


def test_another_voice_is_spoken_after_the_next_converge(host: Host, client: Client) -> None:
    host.run("mkdir -p /root/voices")
    for suffix in (".onnx", ".onnx.json"):
        host.run(f"cp /var/lib/voices/en_US-joe-medium{suffix} /root/voices/twin{suffix}")
    wish = """-e '{"voices_list": [{"name": "twin", "path": "/root/voices"}]}'"""
    code, output = playbook(host, f"playbooks/tts.yml {wish}")
    assert code == 0, output[-4000:]
    with client.http() as http:
        names = [voice["name"] for voice in http.get("/v1/voices").json()["voices"]]
    assert names == ["en_US-joe-medium", "twin"]


def prometheus(host: Host, what: str) -> Any:
    """Ask the host's Prometheus, which listens to nobody else."""
    script = (
        f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090/api/v1/{what}').read().decode())"
    )
    answer = json.loads(host.run(["python3", "-c", script]).stdout)
    assert answer["status"] == "success"
    return answer["data"]


@pytest.mark.parametrize("profile", ["cpu", "cuda13"])
def test_sglang_knows_every_argument_of_a_profile(host: Host, profile: str) -> None:
    profiles = yaml.safe_load((TOP / "roles/sglang/vars/profiles.yml").read_text())
    row = profiles["_sglang_profiles"][profile]
    assert "0.5.23" in row["lock"], "the host has 0.5.23 installed"
    script = (
        "import argparse, sys; from sglang.srt.server_args import ServerArgs; p = argparse.ArgumentParser();"
        "ServerArgs.add_cli_args(p); print(*[o for a in p._actions for o in a.option_strings])"
    )
    environment = "PYTHONPATH=/opt/sglang/current/src/cpu_compat SGLANG_USE_CPU_ENGINE=1"
    known = host.run(
        f"cd / && {environment} /opt/sglang/current/venv/bin/python -c '{script}'"
    ).stdout.split()
    wanted = {f"--{name}" for name in {**profiles["_sglang_common_arguments"], **row["arguments"]}}
    assert wanted <= set(known), wanted - set(known)


@pytest.fixture(scope="module")
def reader(host: Host) -> str:
    """The Python of a reader who has installed what the README says."""
    packages = set(re.findall(r"`pip install (\w+)`", README.read_text()))
    host.run("apt-get install -y -qq --no-install-recommends curl")
    host.run(
        f"python3 -m venv /root/reader && /root/reader/bin/pip install --quiet {' '.join(sorted(packages))}"
    )
    return "/root/reader/bin/python"


@pytest.mark.parametrize("example", [b for b in blocks() if b.section == "Use it"], ids=str)
def test_the_examples_of_the_readme_work(host: Host, reader: str, example: Block) -> None:
    interpreter = {"bash": "bash -e", "python": reader}[example.language]
    done = host.run(f"cd {CLONE} && {interpreter} -", text=example.code, check=False, timeout_s=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "demo model" in done.stdout or done.stdout == "hello.wav\n", done.stdout


def test_bench_brings_its_reports_back(host: Host) -> None:
    code, output = readme(host, block("Measure it"), "-e bench_tts_duration_s=10 -e bench_tts_concurrency=2")
    assert code == 0, output[-4000:]
    reports = host.run(f"ls {CLONE}/reports/*/localhost/").stdout.split()
    assert reports == ["llm.json", "tts.json"]
    llm = json.loads(host.run(f"cat {CLONE}/reports/*/localhost/llm.json").stdout)
    tts = json.loads(host.run(f"cat {CLONE}/reports/*/localhost/tts.json").stdout)
    assert (llm["results"]["requests_complete"], llm["errors"]["count"]) == (50, 0)
    assert llm["results"]["ttft_ms"]["p50"] > 0
    assert (tts["results"]["sessions_complete"], tts["errors"]["count"]) == (2, 0)
    assert tts["results"]["audio_s"] > 1


def test_after_a_reboot_everything_is_back(host: Host, client: Client) -> None:
    host.reboot()
    host.run(
        ["systemctl", "start", "sglang"], timeout_s=UP_TIMEOUT_S
    )  # waits for the start that is under way
    assert host.run(["systemctl", "is-active", *UNITS]).stdout.split() == ["active"] * len(UNITS)
    assert "demo model" in client.ask("Hello!")
    _, pcm, samples = client.speak("I am back.")
    assert len(pcm) == 2 * samples > 0


def test_down_takes_everything_off_the_host(host: Host) -> None:
    done = host.run(f"cd {CLONE} && ./up --down 2>&1", check=False, timeout_s=PLAYBOOK_TIMEOUT_S)
    assert done.returncode == 0, done.stdout[-4000:]
    listening = {line.split()[3].rpartition(":")[2] for line in host.run("ss -Htln").stdout.splitlines()}
    assert listening == {"22"}
    assert host.run("ls /opt/sglang /etc/sglang /etc/nginx/conf.d/edge.conf", check=False).stdout == ""
