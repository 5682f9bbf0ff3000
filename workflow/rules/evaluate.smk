# From weights to the numbers of a study. Torch ends with `rank`. These rules are cheap and list their own source files as inputs.
rule rank:
    input:
        weights="results/{study}/{variant}/{block}/weights.safetensors",
        manifest=prepared,
        truth=truths(),
        image=inputs_of("image"),
        text=inputs_of("text"),
        relevance=relevance_files,
        sources=sources("fne.steps.rank"),
    output:
        "results/{study}/{variant}/{block}/rankings.{split}.npz",
    log:
        "logs/{study}/rank/{variant}.{block}.{split}.log",
    benchmark:
        "benchmarks/{study}/rank/{variant}.{block}.{split}.tsv"
    threads: lambda wildcards: LOADERS if trains_whole_encoders(wildcards) else 1
    resources:
        gpu=GPUS,
    params:
        study=study_arguments,
    shell:
        "fne rank {params.study} --variant {wildcards.variant} --block {wildcards.block} --split {wildcards.split}"
        " --threads {threads} --device {DEVICE} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule evaluate:
    input:
        "results/{study}/{variant}/{block}/rankings.{split}.npz",
        sources("fne.steps.evaluate"),
    output:
        metrics="results/{study}/{variant}/{block}/metrics.{split}.json",
        queries="results/{study}/{variant}/{block}/queries.{split}.npz",
    log:
        "logs/{study}/evaluate/{variant}.{block}.{split}.log",
    benchmark:
        "benchmarks/{study}/evaluate/{variant}.{block}.{split}.tsv"
    params:
        evaluation=evaluated_config,
        study=study_arguments,
    shell:
        "fne evaluate {params.study} --variant {wildcards.variant} --block {wildcards.block} --split {wildcards.split}"
        " > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


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


rule calibrate:
    input:
        weights="results/{study}/{variant}/{block}/weights.safetensors",
        manifest=prepared,
        truth=truths("val", "test"),
        image=inputs_of("image"),
        text=inputs_of("text"),
        ratings=ratings_files,
        sources=sources("fne.steps.calibrate"),
    output:
        "results/{study}/{variant}/{block}/calibration.npz",
    log:
        "logs/{study}/calibrate/{variant}.{block}.log",
    benchmark:
        "benchmarks/{study}/calibrate/{variant}.{block}.tsv"
    threads: lambda wildcards: LOADERS if trains_whole_encoders(wildcards) else 1
    resources:
        gpu=GPUS,
    params:
        match=rating_of_a_match,
        study=study_arguments,
    shell:
        "fne calibrate {params.study} --variant {wildcards.variant} --block {wildcards.block}"
        " --threads {threads} --device {DEVICE} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


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
