"""Ask a few questions: does it fit, what binds, how fast, and where a number comes from."""

from mlsysim import Engine, Hardware, Models, ServingModel, show

profile = Engine.solve(Models.ResNet50, Hardware.A100, batch_size=1, precision="fp16")
show.info(
    "ResNet-50 on one A100", bottleneck=profile.bottleneck, latency=profile.latency.to("ms"), fits=profile.feasible
)

rows = []
for device in ("A100", "H100", "H200"):
    answer = ServingModel().solve(Models.Llama3_8B, device, seq_len=2048, batch_size=8)
    rows.append([device, answer.ttft.to("ms"), answer.itl.to("ms"), answer.decode_bottleneck])
show.table(["device", "TTFT", "ITL", "decode waits for"], rows)

told = ServingModel().solve(Models.Llama3_8B, Hardware.H100, seq_len=2048).explain()
told.lines = [told["itl"]]  # one number of many
print(told)
