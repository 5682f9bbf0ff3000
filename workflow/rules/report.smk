# Tables, figures and the page: nothing here computes a result. `report()` puts them into `snakemake --report` as well.
rule make_tables:
    input:
        expand("results/{{study}}/{file}", file=AGGREGATED + COMPARED + AUDITED),
        of_runs("run.json", "queries.test.npz"),
        readings,
        prepared,
        tuned_files,
        published_file,
    output:
        report(
            "reports/{study}/tables/main.html",
            caption="../report/main_table.rst",
            category="Tables",
            labels={"table": "main"},
        ),
        [
            f"reports/{{study}}/tables/{name}.{kind}"
            for name in TABLES
            for kind in TABLE_KINDS
            if (name, kind) != ("main", "html")
        ],
    log:
        "logs/{study}/tables.log",
    benchmark:
        "benchmarks/{study}/tables.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.report.tables.registry"),
        question=question,
        published=set_against,
        study=study_arguments,
    shell:
        "logged {log} fne tables {params.study}"


rule make_figures:
    input:
        expand("results/{{study}}/{file}", file=AGGREGATED + COMPARED + AUDITED),
        of_runs("run.json", "distributions.json", "queries.test.npz"),
        prepared,
        tuned_files,
    output:
        [
            report(
                f"reports/{{study}}/figures/{name}.svg",
                caption=f"../report/{name}.rst",
                category="Figures",
                labels={"figure": name},
            )
            for name in FIGURES
        ],
        expand("reports/{{study}}/figures/{name}.png", name=FIGURES),
        "reports/{study}/figures/captions.json",
    log:
        "logs/{study}/figures.log",
    benchmark:
        "benchmarks/{study}/figures.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.report.figures"),
        question=question,
        study=study_arguments,
    shell:
        "logged {log} fne figures {params.study}"


rule make_report:
    input:
        lambda wildcards: drawn("tables", wildcards.study) + drawn("figures", wildcards.study),
        expand("results/{{study}}/{file}", file=AGGREGATED + COMPARED + AUDITED),
        of_runs("run.json", "picks.npz", "distributions.json", "queries.test.npz", "rankings.test.npz"),
        readings,
        prepared,
        truths("test"),
        lambda wildcards: images_of(of_study(wildcards)),
        tuned_files,
        published_file,
        verified,
    output:
        "reports/{study}/report.html",
        "reports/{study}/record.json",
    log:
        "logs/{study}/report.log",
    benchmark:
        "benchmarks/{study}/report.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.report", "fne.report.page.template"),
        question=question,
        published=set_against,
        study=study_arguments,
    shell:
        "logged {log} fne report {params.study}"


# The notebook, executed, as one page that opens offline. Nothing depends on it.
rule make_notebook:
    input:
        notebook=not_made("workflow/notebooks/explore.ipynb"),
        template=not_made(*(f"workflow/notebooks/page/{file}" for file in ("index.html.j2", "conf.json"))),
        tables=expand("results/{{study}}/{file}", file=AGGREGATED + COMPARED + AUDITED),
        runs=of_runs("run.json", "queries.test.npz", "picks.npz", "distributions.json"),
        data=prepared,
    output:
        "reports/{study}/explore.html",
    log:
        "logs/{study}/notebook.log",
    benchmark:
        "benchmarks/{study}/notebook.tsv"
    params:
        made_by=RESULT_CODE.of_modules(
            "fne.report.figures.registry",
            "fne.report.tables.registry",
            "fne.report.notebook",
            "fne.report.page.template",
            "fne.results.slices",
        ),
        question=question,
        study=notebook_study,
    shell:
        "logged {log} env FNE_STUDY={params.study:q} FNE_ROOT=$PWD jupyter nbconvert --execute --to html {input.notebook}"
        " --TemplateExporter.extra_template_basedirs=$(dirname {input.notebook}) --template page"
        " --output-dir $(dirname {output}) --output explore.html"
