# In place of train, rank, evaluate and calibrate (`--config job=run`): one job a run, which imports and loads once.
rule run:
    input:
        manifest=prepared,
        truth=truths(*paths.SPLITS),
        image=inputs_of("image"),
        text=inputs_of("text"),
        relevance=relevance_files,
        ratings=ratings_files,
        sources=sources("fne.steps.rank", "fne.steps.evaluate", "fne.steps.calibrate"),
    output:
        expand("results/{{study}}/{{variant}}/{{block}}/{file}", file=TRAINED),
        expand("results/{{study}}/{{variant}}/{{block}}/{file}", file=MADE_OF_A_RUN),
    log:
        "logs/{study}/run/{variant}.{block}.log",
    benchmark:
        "benchmarks/{study}/run/{variant}.{block}.tsv"
    threads: lambda wildcards: LOADERS * PROCESSES if trains_whole_encoders(wildcards) else 1
    resources:
        gpu=lambda wildcards: GPUS * PROCESSES if trains_whole_encoders(wildcards) else GPUS,
    params:
        code=training_code,
        digest=trained_config,
        encoders=encoders_read,
        evaluation=evaluated_config,
        match=rating_of_a_match,
        study=study_arguments,
        trainer=lambda wildcards, output: trainer(wildcards),
        threads=lambda wildcards, output: LOADERS if trains_whole_encoders(wildcards) else 1,
    shell:
        "{params.trainer} job {params.study} --variant {wildcards.variant} --block {wildcards.block}"
        " --threads {params.threads} --device {DEVICE} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"
