# Raw pairs to manifest, splits and known truth: of `scenes`, of a corpus, and of one whose annotations hold the images.
rule prepare:
    input:
        corpus_files,
    output:
        [f"resources/{{data}}/{file}" for file in PREPARED],
        expand("resources/{{data}}/truth.{split}.npz", split=paths.SPLITS),
        expand("resources/{{data}}/scenes.{split}.npz", split=paths.SPLITS),
        expand("resources/{{data}}/forms.{split}.json", split=paths.SPLITS),
        directory("resources/{data}/images"),
    log:
        "logs/{data}/prepare.log",
    benchmark:
        "benchmarks/{data}/prepare.tsv"
    wildcard_constraints:
        data=of_kind(lambda data: data["dataset"] == "scenes"),
    params:
        code=preparing_code,
        images=lambda wildcards: of_data(wildcards).data.get("images"),
        study=data_arguments,
    shell:
        "logged {log} fne prepare {params.study}"


use rule prepare as prepare_corpus with:
    output:
        [f"resources/{{data}}/{file}" for file in PREPARED],
        expand("resources/{{data}}/truth.{split}.npz", split=paths.SPLITS),
        "resources/{data}/pictures.npz",
    wildcard_constraints:
        data=of_kind(lambda data: data.get("images")),


use rule prepare as prepare_with_images with:
    output:
        [f"resources/{{data}}/{file}" for file in PREPARED],
        expand("resources/{{data}}/truth.{split}.npz", split=paths.SPLITS),
        directory("resources/{data}/images"),
    wildcard_constraints:
        data=of_kind(lambda data: data["dataset"] != "scenes" and not data.get("images")),
