# SPDX-License-Identifier: MIT
"""The runner of tests/breaks on a project of one C file: it reports what no test notices."""
import os
import subprocess
import sys
import textwrap

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import breaks  # noqa: E402

FILES = {
    "CMakeLists.txt": """\
        cmake_minimum_required(VERSION 3.18)
        project(sum LANGUAGES C)
        enable_testing()
        add_executable(test_sum tests/unit/test_sum.c sum.c)
        add_test(NAME test_sum COMMAND test_sum)
        """,
    "CMakePresets.json": """\
        {"version": 3, "configurePresets": [{"name": "asan", "generator": "Ninja",
         "binaryDir": "${sourceDir}/build/asan"}]}
        """,
    "sum.c": """\
        int sum(int a, int b);
        int half(int a);
        int sum(int a, int b)
        {
            return a + b;
        }
        /*
         * Nobody tests this.
         */
        int half(int a)
        {
            return a / 2;
        }
        """,
    "tests/unit/test_sum.c": """\
        int sum(int a, int b);
        int main(void)
        {
            return sum(2, 1) == 3 ? 0 : 1;
        }
        """,
    "tests/check_sum.py": """\
        import sys
        sys.exit("a - b" in open("sum.c").read())
        """,
    "tests/conftest.py": """\
        def pytest_addoption(parser):
            parser.addoption("--all", action="store_true")
        """,
    "tests/test_text.py": """\
        import pytest
        class TestText:
            def test_adds(self):
                assert "a + b" in open("sum.c").read()
        def test_is_skipped():
            pytest.skip("no reason")
        def test_fails():
            assert False
        """,
    "tests/suite.py": 'STEPS = {"model": step_model}\n',
}
SUM = """\
diff --git a/sum.c b/sum.c
--- a/sum.c
+++ b/sum.c
@@ -4,3 +4,3 @@
 {
-    return a + b;
+    return a - b;
 }
"""
HALF = """\
diff --git a/sum.c b/sum.c
--- a/sum.c
+++ b/sum.c
@@ -11,3 +11,3 @@
 {
-    return a / 2;
+    return a / 3;
 }
"""


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    (tmp_path / "tests" / "breaks").mkdir()
    return tmp_path


def add(project, name, diff, *finds, seconds="30", kind="arithmetic"):
    lines = ["fault: sum 1 (%s)" % name, "kind: " + kind] + ["finds: " + f for f in finds]
    path = project / "tests" / "breaks" / (name + ".patch")
    path.write_text("\n".join(lines + ["seconds: " + seconds, "", diff]))
    return str(path)


def call(project, *args):
    done = subprocess.run([sys.executable, "-B", breaks.__file__, "--root", str(project), *args],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def test_a_break_that_each_named_test_notices_passes(project):
    add(project, "sum-01-minus", SUM, "unit test_sum", "check check_sum.py",
        "pytest tests/test_text.py::TestText::test_adds")
    code, text = call(project)
    assert code == 0 and "1 patches, 1 noticed" in text, text
    copy = project / "build" / "breaks" / "0"
    assert (copy / "sum.c").read_text() == (project / "sum.c").read_text()
    assert "a + b" in (project / "sum.c").read_text()


def test_a_break_that_a_named_test_does_not_notice_fails(project):
    add(project, "sum-01-minus", SUM, "unit test_sum")
    add(project, "sum-02-half", HALF, "unit test_sum", "check check_sum.py")
    code, text = call(project)
    assert code == 1 and "2 patches, 1 noticed; failed: sum-02-half" in text, text
    assert "unit test_sum passes with the fault; check check_sum.py passes with" in text
    code, text = call(project, "sum-01")
    assert code == 0 and "1 patches, 1 noticed" in text, text


@pytest.mark.parametrize("finds, why", (
    ("pytest tests/test_text.py::test_fails", "fails without the patch"),
    ("pytest tests/test_text.py::test_is_skipped", "passes with the fault")))
def test_a_test_that_proves_nothing_fails(project, finds, why):
    add(project, "sum-01-minus", SUM, finds)
    code, text = call(project)
    assert code == 1 and why in text, text


def test_a_break_that_does_not_build_fails(project):
    add(project, "sum-01-minus", SUM.replace("+    return a - b", "+    return a - "), "unit test_sum")
    code, text = call(project)
    assert code == 1 and "does not build" in text, text


def test_a_test_that_hangs_is_no_notice(project):
    add(project, "sum-01-minus", SUM.replace("+    return a - b", "+    for (;;) a++"),
        "unit test_sum", seconds="2")
    code, text = call(project)
    assert code == 1 and "did not end within 2 s" in text, text


def complaints(project, path):
    return breaks.check(str(project), path)


def test_the_check_names_what_does_not_apply_or_does_not_exist(project):
    assert not complaints(project, add(project, "good", SUM, "unit test_sum", "run model -- 1 2"))
    (old,) = complaints(project, add(project, "old", SUM.replace("-    return a +", "-    return b +"),
                                     "unit test_sum"))
    assert old.startswith("old: does not apply: ")
    for finds in ("unit test_diff", "pytest tests/test_text.py::test_nothing", "run poison",
                  "pytest tests/test_nothing.py", "check check_nothing.py", "hope test_sum"):
        assert complaints(project, add(project, "lost", SUM, finds)) == ["lost: there is no " + finds]
    code, text = call(project, "--check", "old", "good")
    assert code == 1 and "2 patches, 1 offences" in text, text


@pytest.mark.parametrize("more, why", (
    ({"seconds": "0"}, "seconds is a number"), ({"seconds": "soon"}, "seconds is a number"),
    ({"kind": ""}, "not a header line"), ({"kind": "a\nkind: b"}, "needs one line: kind")))
def test_the_check_refuses_an_incomplete_header(project, more, why):
    (said,) = complaints(project, add(project, "header", SUM, "unit test_sum", **more))
    assert why in said
