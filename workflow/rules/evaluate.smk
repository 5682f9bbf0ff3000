# From the numbers of all runs to those of a study. These rules are cheap.
rule aggregate:
    input:
        of_runs("metrics.test.json", *TRAINED_TABLES, "run.json"),
        lambda wildcards: calibrations(wildcards) if JOB == "run" else [],  # so that each job is whole
    output:
        expand("results/{{study}}/{file}", file=AGGREGATED),
    log:
        "logs/{study}/aggregate.log",
    benchmark:
        "benchmarks/{study}/aggregate.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.aggregate"),
        question=question,
        study=study_arguments,
    shell:
        "logged {log} fne aggregate {params.study}"


rule compare:
    input:
        of_runs("queries.test.npz", "metrics.test.json", "run.json"),
        variance_file,
    output:
        expand("results/{{study}}/{file}", file=COMPARED),
    log:
        "logs/{study}/compare.log",
    benchmark:
        "benchmarks/{study}/compare.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.compare"),
        question=question,
        unknown=why_no_variance,
        study=study_arguments,
    shell:
        "logged {log} fne compare {params.study}"


# The study against its recorded reference, where there is one: `snakemake verify`.
rule set_against_reference:
    input:
        of_runs("run.json"),
        expand("results/{{study}}/{file}", file=AGGREGATED),
        lambda wildcards: not_made(paths.reference(of_study(wildcards))),
    output:
        expand("results/{{study}}/{file}", file=VERIFIED),
    log:
        "logs/{study}/verify.log",
    benchmark:
        "benchmarks/{study}/verify.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.verify"),
        question=question,
        study=study_arguments,
    shell:
        "logged {log} fne verify {params.study}"


rule audit:
    input:
        calibrations,
        of_runs("picks.npz", "run.json"),
        judged_files,
        prepared,
        ratings_files,
    output:
        expand("results/{{study}}/{file}", file=AUDITED),
    log:
        "logs/{study}/audit.log",
    benchmark:
        "benchmarks/{study}/audit.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.audit"),
        match=rating_of_a_match,
        study=study_arguments,
    shell:
        "logged {log} fne audit {params.study}"
