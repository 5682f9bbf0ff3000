# A series: studies that differ in their factors alone. Each member is a study like any other; these rules compare them.
# They are read where a series is requested, as its factors decide which files there are.
COMPARED_SERIES = (*series_files.compared(SERIES[STUDY]), digests_file("compare"))


rule compare_of_series:
    input:
        lambda wildcards: [
            paths.results_folder(member) / file
            for member in of_series(wildcards).members
            for file in (*AGGREGATED, *COMPARED)
        ],
        lambda wildcards: [
            file
            for member in of_series(wildcards).members
            for name in ("run.json", "rankings.test.npz", "metrics.test.json", "queries.test.npz")
            for file in runs_of(member, name)
        ],
        lambda wildcards: [
            paths.data_folder(member) / file for member in of_series(wildcards).members for file in PREPARED
        ],
    output:
        expand("results/{{series}}/{file}", file=COMPARED_SERIES),
    log:
        "logs/{series}/compare.log",
    benchmark:
        "benchmarks/{series}/compare.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.compare_series"),
        question=question_of_series,
        study=series_arguments,
    shell:
        "logged {log} fne compare {params.study}"


rule make_tables_of_series:
    input:
        expand("results/{{series}}/{file}", file=COMPARED_SERIES),
    output:
        report(
            "reports/{series}/tables/main.html",
            caption="../report/series_table.rst",
            category="Tables",
            labels={"table": "main"},
        ),
        [
            f"reports/{{series}}/tables/{name}.{kind}"
            for name in series_files.tables(SERIES[STUDY])
            for kind in TABLE_KINDS
            if (name, kind) != ("main", "html")
        ],
    log:
        "logs/{series}/tables.log",
    benchmark:
        "benchmarks/{series}/tables.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.report.series.tables"),
        question=question_of_series,
        study=series_arguments,
    shell:
        "logged {log} fne tables {params.study}"


rule make_figures_of_series:
    input:
        expand("results/{{series}}/{file}", file=COMPARED_SERIES),
    output:
        "reports/{series}/figures/captions.json",
        [
            report(
                f"reports/{{series}}/figures/{name}.svg",
                caption=f"../report/{name}.rst",
                category="Figures",
                labels={"figure": name},
            )
            for name in series_files.figures(SERIES[STUDY])
        ],
        [f"reports/{{series}}/figures/{name}.png" for name in series_files.figures(SERIES[STUDY])],
    log:
        "logs/{series}/figures.log",
    benchmark:
        "benchmarks/{series}/figures.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.report.series.figures"),
        question=question_of_series,
        study=series_arguments,
    shell:
        "logged {log} fne figures {params.study}"


rule make_report_of_series:
    input:
        lambda wildcards: drawn("tables", wildcards.series) + drawn("figures", wildcards.series),
        expand("results/{{series}}/{file}", file=COMPARED_SERIES),
    output:
        "reports/{series}/report.html",
        "reports/{series}/record.json",
    log:
        "logs/{series}/report.log",
    benchmark:
        "benchmarks/{series}/report.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.report.series.report", "fne.report.page.template"),
        question=question_of_series,
        study=series_arguments,
    shell:
        "logged {log} fne report {params.study}"
