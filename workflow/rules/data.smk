# Raw pairs to manifest, splits and known truth.
rule prepare:
    input:
        corpus_files,
    output:
        "resources/{data}/manifest.json",
        expand("resources/{{data}}/truth.{split}.npz", split=paths.SPLITS),
    log:
        "logs/{data}/prepare.log",
    benchmark:
        "benchmarks/{data}/prepare.tsv"
    params:
        code=preparing_code,
        images=lambda wildcards: of_data(wildcards).data.get("images"),
        study=data_arguments,
    shell:
        "logged {log} fne prepare {params.study}"
