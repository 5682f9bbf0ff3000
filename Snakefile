# From raw pairs to a report: `snakemake --cores all`; the README says more. The rules' Python: workflow/rules/common.smk.
from snakemake.utils import min_version

min_version("9.10")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/train.smk"
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
        outputs_of("make_tables", STUDY),


rule figures:
    input:
        outputs_of("make_figures", STUDY),


rule notebook:
    input:
        [f"reports/{study}/explore.html" for study in studies_of(STUDY)],


rule verify:
    input:
        [f"results/{study}/verify.json" for study in studies_of(STUDY)],


onstart:
    check_devices()


onsuccess:
    tell_where_the_reports_are()
