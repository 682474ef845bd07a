from tests.hostile.cases import GROUPS, all_cases, group_cases, quick_cases


def test_there_are_enough_cases_of_every_group():
    assert all(len(group_cases(group)) >= 8 for group in GROUPS)
    assert len(all_cases()) >= 800


def test_the_quick_suite_has_a_good_and_a_bad_case_of_every_group():
    quick = {group: quick_cases(group) for group in GROUPS}
    expected = {group: {case.expect for case in group_cases(group) if case.name in quick[group]} for group in GROUPS}
    assert all({"one line", "problems"} & expects for expects in expected.values())
    assert [group for group, expects in expected.items() if "works" not in expects] == ["recipe"]
