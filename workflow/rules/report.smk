# Tables, figures and the page: nothing here computes a result. `report()` puts them into `snakemake --report` as well.
rule make_tables:
    input:
        expand("results/{{study}}/{file}", file=AGGREGATED + COMPARED + AUDITED),
        tuned_files,
        published_file,
        sources("fne.report.tables.registry"),
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
            for kind in ("html", "csv", "md", "tex")
            if (name, kind) != ("main", "html")
        ],
    log:
        "logs/{study}/tables.log",
    benchmark:
        "benchmarks/{study}/tables.tsv"
    params:
        question=question,
        published=set_against,
        study=study_arguments,
    shell:
        "fne tables {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule make_figures:
    input:
        expand("results/{{study}}/{file}", file=AGGREGATED + COMPARED + AUDITED),
        lambda wildcards: runs(wildcards, "run.json"),
        tuned_files,
        sources("fne.report.figures"),
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
        question=question,
        study=study_arguments,
    shell:
        "fne figures {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule make_report:
    input:
        lambda wildcards: outputs_of("make_tables", wildcards.study),
        lambda wildcards: outputs_of("make_figures", wildcards.study),
        verified,
        sources("fne.steps.report", "fne.report.page.template"),
    output:
        "reports/{study}/report.html",
        "reports/{study}/record.json",
    log:
        "logs/{study}/report.log",
    benchmark:
        "benchmarks/{study}/report.tsv"
    params:
        question=question,
        published=set_against,
        study=study_arguments,
    shell:
        "fne report {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


# The notebook, executed, as one page that opens offline. Nothing depends on it.
rule make_notebook:
    input:
        notebook="workflow/notebooks/explore.ipynb",
        template=expand("workflow/notebooks/page/{file}", file=("index.html.j2", "conf.json")),
        tables=expand("results/{{study}}/{file}", file=AGGREGATED + COMPARED + AUDITED),
        runs=lambda wildcards: runs(wildcards, "queries.test.npz"),
        sources=sources(
            "fne.report.figures.registry",
            "fne.report.tables.registry",
            "fne.report.notebook",
            "fne.report.page.template",
            "fne.results.slices",
        ),
    output:
        "reports/{study}/explore.html",
    log:
        "logs/{study}/notebook.log",
    benchmark:
        "benchmarks/{study}/notebook.tsv"
    params:
        question=question,
        study=notebook_study,
    shell:
        "FNE_STUDY={params.study:q} FNE_ROOT=$PWD jupyter nbconvert --execute --to html {input.notebook}"
        " --TemplateExporter.extra_template_basedirs=$(dirname {input.notebook}) --template page"
        " --output-dir $(dirname {output}) --output explore.html"
        " > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"
