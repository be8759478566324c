"""The test page: every way in, every parameter, and what comes out."""

import base64
import io
import json
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.console.conftest import Console
from tests.console.pictures import red_picture

# A file as a person's hand would bring it: over the clipboard, or dragged.
BRING = """([kind, data]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0))
  const transfer = new DataTransfer()
  transfer.items.add(new File([bytes], 'brought.png', { type: 'image/png' }))
  const event = kind === 'paste'
    ? new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true })
    : new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true })
  document.querySelector('.drop').dispatchEvent(event)
}"""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "three faces.png"
    path.write_bytes(red_picture(faces=3))
    return path


def choose(page: Page, photo: Path) -> None:
    page.locator("input[type=file]").set_input_files(photo)
    expect(page.get_by_text("of 3 candidates kept")).to_be_visible()
    expect(page.get_by_role("heading", name="Full answer")).to_be_visible()
    expect(page.locator(".busy")).to_have_count(0)


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_may_be_pasted_or_dropped(console: Console, session: str, kind: str) -> None:
    page = console.open("/test", session=session)
    expect(page.locator(".drop")).to_be_visible()
    page.evaluate(BRING, [kind, base64.b64encode(red_picture(faces=2)).decode()])
    expect(page.get_by_text("2 of 2 candidates kept")).to_be_visible()
    expect(page.locator("[data-face]")).to_have_count(2)


def test_a_picture_is_sent_once_for_its_faces_and_once_for_its_mask(
    console: Console, session: str, photo: Path
) -> None:
    page = console.open("/test", session=session)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    choose(page, photo)
    page.wait_for_timeout(1000)
    sent = [url.partition("/test/")[2].partition("?")[0] for url in asked if "/test/" in url]
    assert sorted(sent) == ["detect", "mask"]


def test_the_threshold_shows_at_once_which_faces_it_keeps(
    console: Console, session: str, photo: Path
) -> None:
    page = console.open("/test", session=session, may_be_unreachable=True)
    choose(page, photo)
    faces = page.locator("[data-face]")
    expect(faces).to_have_count(3)
    page.context.set_offline(True)  # the service is not asked
    slider = page.locator("#threshold")
    for threshold, kept in (("0.8", 2), ("0.95", 1), ("1", 0), ("0.3", 3)):
        slider.fill(threshold)
        expect(faces).to_have_count(kept)
        expect(page.get_by_text(f"{kept} of 3 candidates kept")).to_be_visible()
        expect(page.locator("rect.dropped")).to_have_count(3 - kept)
    page.context.set_offline(False)


def test_every_parameter_has_the_range_and_default_of_the_api(
    console: Console, session: str, photo: Path, admin: httpx.Client
) -> None:
    operation = admin.get("/openapi.json").json()["paths"]["/api/v1/mask"]["post"]
    page = console.open("/test", session=session)
    for parameter in operation["parameters"]:
        schema, name = parameter["schema"], parameter["name"]
        if parameter["in"] != "query" or name in {"store", "receipt"}:  # nothing is stored here
            continue
        field = page.locator(f"[id$='-{name}']")
        if schema.get("default") is None:  # left out unless it is chosen
            if name in {"shape", "fill"}:
                expect(field).to_have_value("")
            continue
        if schema["type"] == "boolean":
            expect(field).to_have_value(str(schema["default"]).lower())
            assert [o.get_attribute("value") for o in field.locator("option").all()] == ["false", "true"]
            continue
        expect(field).to_have_value(str(schema["default"]))
        if "enum" in schema:
            options = field.locator("option")
            assert [o.get_attribute("value") for o in options.all()] == schema["enum"]
        else:
            assert float(field.get_attribute("min") or "nan") == schema["minimum"]
            assert float(field.get_attribute("max") or "nan") == schema["maximum"]
            expect(page.locator(f"[id$='-{name}-help']")).to_contain_text(f"{schema['default']:g}")


def test_every_parameter_reaches_the_service_and_defaults_come_back(
    console: Console, session: str, photo: Path
) -> None:
    page = console.open("/test", session=session)
    choose(page, photo)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("[id$='-method']").select_option("solid")
    page.locator("[id$='-strength']").fill("77")
    page.locator("[id$='-padding']").fill("0.5")
    page.locator("[id$='-format']").select_option("webp")
    page.locator("[id$='-quality']").fill("5000")  # snaps to the nearest that is allowed
    page.locator("[id$='-max_faces']").fill("2")
    page.locator("[id$='-shape']").select_option("ellipse")
    page.locator("[id$='-fill']").select_option("pixelate")
    page.locator("[id$='-min_face']").fill("3")
    page.locator("[id$='-verify']").select_option("true")
    page.locator("[id$='-nms_threshold']").fill("0.7")
    page.locator("#threshold").fill("0.65")
    expect(page.locator("[data-face]")).to_have_count(2)
    wanted = ("method=solid", "strength=77", "padding=0.5", "format=webp", "quality=100", "max_faces=2")
    page.wait_for_function(
        "() => document.querySelector('.tiles')?.textContent.includes('webp')",
    )
    expect(page.locator(".busy")).to_have_count(0)
    last = [url for url in asked if "/test/mask" in url][-1]
    for part in (
        *wanted,
        "shape=ellipse",
        "fill=pixelate",
        "min_face=3",
        "verify=true",
        "nms_threshold=0.7",
        "confidence=0.65",
    ):
        assert part in last
    page.locator("summary").click()
    answer = json.loads(page.locator("details pre").inner_text())
    asked_for = {"method": "solid", "strength": 77, "padding": 0.5, "regions_masked": 2, "shape": "ellipse"}
    asked_for["fill"] = "pixelate"
    assert answer["masking"].items() >= asked_for.items()
    page.get_by_role("button", name="Defaults").click()
    expect(page.locator("[id$='-strength']")).to_have_value("199")
    expect(page.locator(".tiles")).to_contain_text("jpeg")


def test_the_result_is_compared_saved_and_explained(console: Console, session: str, photo: Path) -> None:
    page = console.open("/test", session=session, permissions=["clipboard-read", "clipboard-write"])
    choose(page, photo)
    divider = page.get_by_label("Divider between original and masked picture")
    divider.fill("20")
    expect(page.locator("img.after")).to_have_attribute("style", "clip-path: inset(0px 0px 0px 20%);")
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator(".split img")).to_have_count(2)
    expect(page.locator(".tile").filter(has_text="Faces").locator("strong")).to_have_text("3")
    expect(page.get_by_role("table", name="Milliseconds of each stage")).to_contain_text("Inference")
    page.locator("summary").click()
    page.locator("details").get_by_role("button", name="Copy").click()
    answer = json.loads(page.evaluate("navigator.clipboard.readText()"))
    masked = base64.b64decode(answer["output"]["image_base64"])
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "masked-three faces.jpg"
    assert download.value.path().read_bytes() == masked
    with Image.open(io.BytesIO(masked)) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (640, 640)


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript", "C#"])
def test_the_same_call_is_shown_in_four_languages(console: Console, session: str, language: str) -> None:
    page = console.open("/test", session=session)
    page.locator("[id$='-strength']").fill("41")
    page.locator("[id$='-method']").select_option("pixelate")
    page.get_by_role("tab", name=language).click()
    code = page.get_by_role("tabpanel")
    for part in ("pixelate", "strength", "41", console.url):
        expect(code).to_contain_text(part)
    if language == "Python":
        compile(code.inner_text(), "sample.py", "exec")
        expect(code).to_contain_text('"strength": 41')


def test_what_is_no_picture_is_refused_in_words(console: Console, session: str, tmp_path: Path) -> None:
    note = tmp_path / "note.png"
    note.write_text("this is no picture")
    page = console.open("/test", session=session, expected={415})
    page.locator("input[type=file]").set_input_files(note)
    expect(page.get_by_role("alert")).to_contain_text("accepted: JPEG, PNG")
    note.write_bytes(b"\x89PNG" + bytes(21 * 2**20))
    page.locator("input[type=file]").set_input_files(note)
    expect(page.get_by_role("alert")).to_contain_text("larger than 20 MB")


def test_a_format_the_browser_cannot_show_is_shown_masked(
    console: Console, session: str, tmp_path: Path
) -> None:
    path = tmp_path / "scan.tiff"
    with Image.open(io.BytesIO(red_picture())) as picture:
        picture.save(path)
    page = console.open("/test", session=session)
    page.locator("input[type=file]").set_input_files(path)
    expect(page.get_by_text("Your browser cannot show this format")).to_be_visible()
    expect(page.locator("img[alt=Masked]")).to_be_visible()
    expect(page.locator("[data-face]")).to_have_count(1)
