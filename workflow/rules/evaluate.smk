# From the numbers of all runs to those of a study. These rules are cheap.
rule aggregate:
    input:
        lambda wildcards: runs(wildcards, "metrics.test.json"),
        lambda wildcards: runs(wildcards, "run.json"),
        sources("fne.steps.aggregate"),
    output:
        expand("results/{{study}}/{file}", file=AGGREGATED),
    log:
        "logs/{study}/aggregate.log",
    benchmark:
        "benchmarks/{study}/aggregate.tsv"
    params:
        question=question,
        study=study_arguments,
    shell:
        "fne aggregate {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule compare:
    input:
        lambda wildcards: runs(wildcards, "queries.test.npz"),
        "results/{study}/runs.csv",
        variance_file,
        sources("fne.steps.compare"),
    output:
        expand("results/{{study}}/{file}", file=COMPARED),
    log:
        "logs/{study}/compare.log",
    benchmark:
        "benchmarks/{study}/compare.tsv"
    params:
        question=question,
        unknown=why_no_variance,
        study=study_arguments,
    shell:
        "fne compare {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


# The study against its recorded reference, where there is one: `snakemake verify`.
rule set_against_reference:
    input:
        lambda wildcards: runs(wildcards, "run.json"),
        "results/{study}/runs.csv",
        "results/{study}/protocols.json",
        lambda wildcards: paths.reference(of_study(wildcards)),
        sources("fne.steps.verify"),
    output:
        expand("results/{{study}}/{file}", file=VERIFIED),
    log:
        "logs/{study}/verify.log",
    benchmark:
        "benchmarks/{study}/verify.tsv"
    params:
        question=question,
        study=study_arguments,
    shell:
        "fne verify {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule audit:
    input:
        lambda wildcards: [str(file) for file in calibration_files(of_study(wildcards))],
        lambda wildcards: runs(wildcards, "picks.npz"),
        lambda wildcards: runs(wildcards, "rankings.test.npz") if is_judged(of_study(wildcards)) else [],
        lambda wildcards: runs(wildcards, "run.json"),
        prepared,
        ratings_files,
        sources("fne.steps.audit"),
    output:
        expand("results/{{study}}/{file}", file=AUDITED),
    log:
        "logs/{study}/audit.log",
    benchmark:
        "benchmarks/{study}/audit.tsv"
    params:
        match=rating_of_a_match,
        study=study_arguments,
    shell:
        "fne audit {params.study} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"
