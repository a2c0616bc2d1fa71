"""The report in a real browser: it loads, filters, sorts, and lets nothing in or out."""

import numpy as np
import pytest

from helpers.browser import Browser, find_chromium, PROGRAMS
from helpers.scenes import scene, square
from mbv2ssd_ros.evaluation.analysis import analyse, Subject
from mbv2ssd_ros.evaluation.report.detector_report import write_report

pytestmark = [
    pytest.mark.needs('faster_coco_eval'),
    pytest.mark.skipif(find_chromium() is None,
                       reason=f'needs a browser: none of {", ".join(PROGRAMS)} is here')]

HOSTILE = '<script>document.title="owned"</script><img src=x onerror=leak()>'
NAMES = ('cat', 'dog', HOSTILE)
CAT, DOG, ODD = 1, 2, 3
HERE, AWAY = square(0, 0), square(100, 50)
# AP of cats 1, of dogs 1/2, of the third class 0; one image without cats
RESULTS = [
    scene(0, [(CAT, 0.9, HERE), (DOG, 0.8, AWAY), (CAT, 0.7, square(150, 0))],
          [(CAT, HERE), (DOG, AWAY), (DOG, square(0, 50))]),
    scene(1, [(DOG, 0.5, HERE)], [(ODD, (50, 20, 100, 80))]),
    scene(2, [(DOG, 0.03, HERE)], [])]


@pytest.fixture(scope='module')
def browser():
    """Start one browser for all tests."""
    with Browser() as started:
        yield started


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    """Write the report once."""
    picture = np.full((50, 100, 3), (0, 128, 255), np.uint8)
    return write_report(tmp_path_factory.mktemp('report'),
                        analyse(Subject('m.onnx', 'test', NAMES, 0.02, 0.35), RESULTS),
                        lambda _: picture)


@pytest.fixture
def page(browser, path):
    """Open the report."""
    browser.open(path)
    return browser


def visible(page, selector):
    """Return the texts of the elements that can be seen."""
    return page.run(f'Array.from(document.querySelectorAll({selector!r}))'
                    '.filter(part => part.getClientRects().length)'
                    '.map(part => part.innerText.trim())')


def choose(page, label):
    """Choose a class as the user of a keyboard does."""
    page.run('(() => { const filter = document.getElementById("class-filter");'
             f' filter.value = "{label}"; filter.dispatchEvent(new Event("change")); }})()')


def classes(page):
    """Return the names in the first column of the table of classes."""
    return visible(page, '#class-table tbody th')


def test_the_browser_tells_of_errors_requests_and_scripts(browser, tmp_path):
    # or the tests below could not fail
    path = tmp_path / 'bad.html'
    path.write_text(f'<title>safe</title>{HOSTILE}<script>console.error(5); oops()</script>')
    browser.open(path)
    assert browser.run('document.title') == 'owned'
    assert [url.rsplit('/', 1)[1] for url in browser.requests] == ['bad.html', 'x']
    found = ' '.join(browser.complaints)
    assert "'value': 5" in found and 'Uncaught' in found and 'ERR_FILE_NOT_FOUND' in found


def test_it_loads_without_a_complaint_and_asks_for_nothing_else(page, path):
    assert page.complaints == [] and page.requests == [path.resolve().as_uri()]
    assert page.run('document.title') == 'm.onnx on test'


def test_names_are_shown_as_they_are_and_do_nothing(page):
    assert HOSTILE in classes(page)
    assert page.run('document.scripts.length') == 1
    assert page.run('Array.from(document.images).every(i => i.src.startsWith("data:"))')
    choose(page, ODD)
    assert page.run('document.title') == 'm.onnx on test' and page.complaints == []


def test_the_filter_changes_figures_table_curves_and_pictures(page):
    assert visible(page, 'dd.value')[0] == '0.500'
    assert len(visible(page, '.gallery figure')) == 2
    choose(page, DOG)
    assert visible(page, 'dd.value')[0] == '0.500' and visible(page, 'dt')[0] == 'AP@0.5 dog'
    assert classes(page) == ['dog']
    assert page.run('Array.from(document.querySelectorAll(".curve.chosen title"))'
                    '.map(title => title.textContent)') == ['dog: AP@0.5 0.500']
    assert page.run('document.querySelectorAll("#confusion-table tr.chosen th")[0].innerText'
                    ) == 'dog'
    choose(page, CAT)
    assert visible(page, 'dd.value')[0] == '1.000'
    assert [text.split()[-6] for text in visible(page, '.gallery figcaption')] == ['image0']
    choose(page, 0)
    assert len(classes(page)) == 3 and len(visible(page, '.gallery figure')) == 2
    assert page.run('document.querySelectorAll(".chosen").length') == 0


def test_a_press_on_a_class_or_its_curve_chooses_it_and_another_shows_all(page):
    page.click('#class-table tbody tr:nth-child(2) button')
    assert classes(page) == ['dog']
    page.click('#class-table tbody tr:nth-child(2) button')
    assert len(classes(page)) == 3
    page.run('document.querySelector(".curve[data-label=\'1\']")'
             '.dispatchEvent(new MouseEvent("click", {bubbles: true}))')
    assert classes(page) == ['cat']


def test_headings_sort_figures_downwards_first_and_names_upwards(page):
    page.click('#class-table thead th:nth-child(3) button')
    assert classes(page) == ['cat', 'dog', HOSTILE]
    page.click('#class-table thead th:nth-child(3) button')
    assert classes(page) == [HOSTILE, 'dog', 'cat']
    assert page.run('document.querySelector("[aria-sort]").innerText.trim()') == 'AP@0.5'
    page.click('#class-table thead th:first-child button')
    assert classes(page)[-1] == 'dog' and len(visible(page, '#class-table tfoot tr')) == 1


def test_pictures_load_and_boxes_lie_where_they_belong(page):
    page.run('Promise.all(Array.from(document.images).map(image => image.decode()))')
    assert page.run('Array.from(document.images).map(image => image.naturalWidth)') == [100, 100]
    share = page.run('''(() => {
      const box = document.querySelectorAll('.box.missed[data-label="3"]')[0];
      const [inner, outer] = [box, box.parentElement].map(e => e.getBoundingClientRect());
      return [(inner.x - outer.x) / outer.width, (inner.y - outer.y) / outer.height,
              inner.width / outer.width, inner.height / outer.height,
              outer.width / outer.height]; })()''')
    np.testing.assert_allclose(share, [0.25, 0.2, 0.25, 0.6, 2], atol=0.01)


def test_a_press_enlarges_a_picture(page):
    width = 'document.querySelector(".gallery figure").getBoundingClientRect().width'
    before = page.run(width)
    page.click('.gallery figure img')
    assert page.run(width) > 1.5 * before


@pytest.mark.parametrize('width_px', [320, 390, 768])
def test_a_narrow_window_does_not_scroll_sideways(browser, path, width_px):
    browser.open(path, width_px=width_px)
    assert browser.run('document.documentElement.scrollWidth') <= width_px
    assert visible(browser, '#chooser') != []


# Lightness of text and paper, 0 to 255.
LIGHTNESS = '''['color', 'backgroundColor'].map(name =>
  getComputedStyle(document.body)[name].match(/\\d+/g).slice(0, 3).map(Number)
    .reduce((sum, part) => sum + part) / 3)'''


def test_the_page_follows_the_colours_of_the_system(browser, path):
    browser.open(path, dark=True)
    text, paper = browser.run(LIGHTNESS)
    assert text > 200 and paper < 50
    browser.open(path, dark=False)
    text, paper = browser.run(LIGHTNESS)
    assert text < 50 and paper > 200


def test_on_paper_there_is_nothing_to_press_and_the_ink_is_dark(browser, path):
    browser.open(path, dark=True)
    browser.call('Emulation.setEmulatedMedia', media='print')
    assert visible(browser, 'nav') == []
    assert browser.run(LIGHTNESS)[1] == 255
    browser.call('Emulation.setEmulatedMedia', media='')


def test_without_script_all_figures_are_there_and_no_filter(browser, path):
    browser.call('Emulation.setScriptExecutionDisabled', value=True)
    try:
        browser.open(path)
        assert visible(browser, '#chooser') == [] and len(classes(browser)) == 3
        assert len(visible(browser, '.gallery figure')) == 2
        assert visible(browser, 'dd.value')[0] == '0.500'
    finally:
        browser.call('Emulation.setScriptExecutionDisabled', value=False)
