# From raw pairs to a report: `snakemake --cores all`; the README says more. The rules' Python: workflow/rules/common.smk.
from snakemake.utils import min_version

min_version("9.10")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/features.smk"
include: f"workflow/rules/{'run' if JOB == 'run' else 'train'}.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


if SERIES:

    include: "workflow/rules/series.smk"


localrules:
    all,
    smoke,
    tables,
    figures,
    notebook,
    verify,


rule all:
    default_target: True
    input:
        reports_of(STUDY),


rule smoke:
    input:
        "reports/smoke/report.html",


rule tables:
    input:
        drawn("tables", STUDY),


rule figures:
    input:
        drawn("figures", STUDY),


rule notebook:
    input:
        [f"reports/{study}/explore.html" for study in studies_of(STUDY)],


rule verify:
    input:
        [f"results/{study}/verify.json" for study in studies_of(STUDY)],


onstart:
    check_devices()
    if not workflow.touch:
        keep_overrides()
        set_finished_runs_aside()


onsuccess:
    tell_where_the_reports_are()
