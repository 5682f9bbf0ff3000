# One job a run, which imports and loads once; `--config job=stages` has train, rank, evaluate and calibrate in its place.
rule run:
    input:
        manifest=prepared,
        truth=truths(*paths.SPLITS),
        image=inputs_of("image"),
        text=inputs_of("text"),
        relevance=relevance_files,
        ratings=ratings_files,
    output:
        expand("results/{{study}}/{{variant}}/{{block}}/{file}", file=TRAINED),
        expand("results/{{study}}/{{variant}}/{{block}}/{file}", file=MADE_OF_A_RUN),
        [growing(f"results/{{study}}/{{variant}}/{{block}}/readings.{of}.jsonl") for of in ("test", "calibrate")],
    log:
        "logs/{study}/run/{variant}.{block}.log",
    benchmark:
        "benchmarks/{study}/run/{variant}.{block}.tsv"
    threads: lambda wildcards: LOADERS * PROCESSES if trains_whole_encoders(wildcards) else 1
    resources:
        **(ON_GPU and {"gpu": trainer_gpus}),
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.rank", "fne.steps.evaluate", "fne.steps.calibrate"),
        code=training_code,
        digest=trained_config,
        encoders=encoders_read,
        evaluation=evaluated_config,
        match=rating_of_a_match,
        study=study_arguments,
        trainer=lambda wildcards, output: trainer(wildcards),
        together=lambda wildcards, output: together(wildcards),
        threads=lambda wildcards, output: LOADERS if trains_whole_encoders(wildcards) else 1,
    shell:
        "logged {log} {params.trainer} job {params.study} --variant {wildcards.variant} --block {wildcards.block}"
        " --threads {params.threads} --device {DEVICE}{params.together}"
