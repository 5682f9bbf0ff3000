# A series: studies that differ in their factors alone. Each member is a study like any other; these rules compare them.
# They are read where a series is requested, as its factors decide which files there are.
COMPARED_SERIES = series_files.compared(SERIES[STUDY])


rule compare_of_series:
    input:
        lambda wildcards: [
            paths.results_folder(member) / file
            for member in of_series(wildcards).members
            for file in (*AGGREGATED, *COMPARED)
        ],
        lambda wildcards: [paths.manifest(member) for member in of_series(wildcards).members],
        sources("fne.steps.compare_series"),
    output:
        expand("results/{{series}}/{file}", file=COMPARED_SERIES),
    log:
        "logs/{series}/compare.log",
    benchmark:
        "benchmarks/{series}/compare.tsv"
    params:
        question=question_of_series,
        study=series_arguments,
    shell:
        "fne compare {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule make_tables_of_series:
    input:
        expand("results/{{series}}/{file}", file=COMPARED_SERIES),
        sources("fne.report.series.tables"),
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
            for kind in ("html", "csv", "md", "tex")
            if (name, kind) != ("main", "html")
        ],
    log:
        "logs/{series}/tables.log",
    benchmark:
        "benchmarks/{series}/tables.tsv"
    params:
        question=question_of_series,
        study=series_arguments,
    shell:
        "fne tables {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule make_figures_of_series:
    input:
        expand("results/{{series}}/{file}", file=COMPARED_SERIES),
        sources("fne.report.series.figures"),
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
        question=question_of_series,
        study=series_arguments,
    shell:
        "fne figures {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule make_report_of_series:
    input:
        lambda wildcards: outputs_of("make_tables", wildcards.series),
        lambda wildcards: outputs_of("make_figures", wildcards.series),
        sources("fne.report.series.report", "fne.report.page.template"),
    output:
        "reports/{series}/report.html",
        "reports/{series}/record.json",
    log:
        "logs/{series}/report.log",
    benchmark:
        "benchmarks/{series}/report.tsv"
    params:
        question=question_of_series,
        study=series_arguments,
    shell:
        "fne report {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"
