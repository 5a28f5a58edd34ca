#!/usr/bin/env bash
# What only a GPU can show, as PASS, FAIL, SKIP and INFO lines; about five minutes on one H200 with 16 cores.
#   bash benchmarks/gpu_check.sh [GROUP …]       from the root of the project; all groups where none is named
# Groups: same (equal bits) resume recipes compile half (float16) transfer parity waits memory processes speed.
# Without a GPU it imports everything, builds the networks and says what it would run.
# PY is the Python (default: python), W the folder for logs and results (default: a new one).
set -u
PY=${PY:-python}; W=${W:-$(mktemp -d)}; mkdir -p "$W"
export PYTHONPATH=$PWD:$PWD/src${PYTHONPATH:+:$PYTHONPATH} DVC_NO_ANALYTICS=1
GROUPS_WANTED=" ${*:-same resume recipes compile half transfer parity waits memory processes speed} "
say() { echo "$1 $2 [${SECONDS}s]"; }
ok() { # STATUS WHAT [LOG]
  if [ "$1" = 0 ]; then say PASS "$2"; else
    say FAIL "$2: $(grep -aE 'rror' "$W/${3:-none}.log" 2>/dev/null | tail -1 | cut -c1-300)"; FAILED=1; fi; }
wanted() { [[ $GROUPS_WANTED == *" $1 "* ]] || return 1; [ -z "$DRY" ] || { echo "WOULD RUN $1: $2"; return 1; }; }
FAILED=0 DRY=
echo "INFO logs in $W"
$PY - <<'P' || DRY=1
import sys, torch
from darkroom.training.engine import device
if problem := device.cuda_problem():
    print("INFO", problem, "- nothing is run"); sys.exit(1)
print("INFO", torch.cuda.get_device_name(), "sm_%d%d" % torch.cuda.get_device_capability(), "torch", torch.__version__)
print("INFO", torch.cuda.device_count(), "GPUs; this build has kernels for", *torch.cuda.get_arch_list())
P

# Runs a stage after Python from the environment: to change or count what it does.
cat > "$W/go.py" <<'P'
import os, runpy, sys, torch
exec(os.environ.get("PRE", ""))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
P
cat > "$W/exact.yaml" <<Y
seed: 0
device: cuda
deterministic: true
select: {folds: 0}
datasets:
  digits:
    source: {kind: digits}
    pack: {image_size: 32}
    split: {validation: 0.15, test: 0.2}
    augment: {shift: 2, rotate: 10}
    training: {epochs: 4, batch_size: 64, balance: sampler}
  every_change:
    augment: {flip: alternating, shift: 2, crop: 0.5, rotate: 10, zoom: 0.1, randaugment: 9, brightness: 0.2,
              contrast: 0.2, saturation: 0.2, hue: 0.1, cutout: 8}
    training: {epochs: 12, batch_size: 64, balance: weights}
  large: {augment: {flip: alternating, shift: 2}, training: {epochs: 8, batch_size: 2000}}
scratch:
  every_option: {architecture: resnet9, optimizer: muon, learning_rate: 0.1, label_smoothing: 0.1, mixup: 0.2,
                 cutmix: 1.0, average: 0.95, clip: 1.0, small_start: 0.5}
  airbench: {architecture: airbench, width: 64, optimizer: muon, learning_rate: 0.24, weight_decay: 0.01,
             label_smoothing: 0.2, warmup: 0}
  wic_cnn: {architecture: wic_cnn, optimizer: adam, learning_rate: 0.001, schedule: plateau}
  vgg3_bn: {architecture: vgg3_bn, learning_rate: 0.01, schedule: cosine}
  vgg3_dropout: {architecture: vgg3_dropout, learning_rate: 0.01, schedule: constant}
  compiled: {architecture: airbench, width: 32, optimizer: muon, learning_rate: 0.1, small_start: 0.5, mixup: 0.2,
             cutmix: 1.0, compile: true}
transfer:
  finetune: {weights: backbones/cifar10_backbone, method: finetune, norms: trained, learning_rate: 0.05}
  probe: {weights: backbones/cifar10_backbone, method: probe}
  both: {weights: backbones/cifar10_backbone, method: probe+finetune}
  resnet50: {architecture: resnet50, weights: $W/backbones/resnet50.pth, method: finetune, norms: trained}
  vgg16: {architecture: vgg16, weights: $W/backbones/vgg16.pth, method: finetune}
Y
sed 's/deterministic: true/deterministic: false/' "$W/exact.yaml" > "$W/fast.yaml"

if [ -n "$DRY" ]; then
  $PY - "$W/exact.yaml" <<'P' || exit 1
import sys
from pathlib import Path
from darkroom import packed
from darkroom.foundations import params
from darkroom.serving.build import packaging
from darkroom.training.engine import jobs, session
from darkroom.training.networks import network
from darkroom.training.transfer import initialization as transfer
from darkroom.training.settings import ScratchSettings, TransferSettings
path = Path(sys.argv[1]); document = params.read(path)
for name in document["scratch"]:
    settings = params.load(path, ScratchSettings, f"scratch.{name}")
    network.build({"architecture": settings.architecture, "width": settings.width}, 10, 32, 0)
for name in document["transfer"]:
    params.load(path, TransferSettings, f"transfer.{name}")
print("INFO everything imports, and the networks are built")
P
else
  D="--params $W/exact.yaml --dataset digits"
  { $PY stages/download.py $D --inbox data/inbox --downloads "$W/downloads" --out "$W/raw" &&
    $PY stages/pack.py $D --raw "$W/raw" --out "$W/packed" &&
    $PY stages/split.py $D --packed "$W/packed" --out "$W/split.csv" --copies "$W/copies.csv" \
      --test-images "$W/test_images.json" --metrics "$W/data.json"
  } >"$W/data.log" 2>&1; ok $? "digits are packed" data
fi

stage() { # OUT NAME DATASET PARAMS [PYTHON FIRST]; environment: EVERY LIMIT DATA LAUNCH CHECKPOINTS
  local kind=scratch extra=() data=${DATA:-packed} split=$W/split.csv
  case $2 in finetune|probe|both|resnet50|vgg16) kind=transfer
    extra=(--pretrained "$W/pretrained/$2" --features "$W/features-$1");; esac
  [ "$data" = packed ] || split=$W/$data.csv
  PRE=${5:-} timeout "${LIMIT:-150}" $PY ${LAUNCH:-} "$W/go.py" stages/$kind.py "$2" --params "$W/$4.yaml" \
    --dataset "$3" --packed "$W/$data" --split "$split" --checkpoints "$W/checkpoints-${CHECKPOINTS:-$1}" \
    --every "${EVERY:-1000}" --out "$W/$1" "${extra[@]}" >>"$W/$1.log" 2>&1; }
same() { cmp -s "$W/$1/weights.safetensors" "$W/$2/weights.safetensors"; ok $? "$3" "$2"; }
ever() { stage exact every_option every_change exact; }

if wanted same "every option, deterministic twice and once not, from GPU memory, memory and file"; then
  for n in exact again; do (stage $n every_option every_change exact; ok $? "every augmentation and option, $n" $n) & done
  (stage fast every_option every_change fast; ok $? "the same, not deterministic" fast) & wait
  same exact again "deterministic twice, same bits"
  grep -aq "in bfloat16" "$W/exact.log"; ok $? "trains in bfloat16"
  for p in memory file; do
    (stage from-$p every_option every_change exact "from darkroom.training.engine import batches as b; b.place=lambda *a: '$p'"
     same exact from-$p "images from the $p, same bits") & done; wait
fi
if wanted resume "a training killed at its second checkpoint ends with the same bits"; then
  [ -d "$W/exact" ] || ever
  KILL="from darkroom.training.engine import checkpoint as c; import os; s=c.Checkpointer.save; n=[]
c.Checkpointer.save=lambda self,state: (s(self,state), n.append(1), len(n)==2 and os.kill(os.getpid(),9))"
  EVERY=0.1 CHECKPOINTS=k stage killed every_option every_change exact "$KILL" 2>/dev/null
  [ $? -ge 128 ]; ok $? "was killed" killed
  CHECKPOINTS=k stage killed every_option every_change exact
  grep -aq "from a checkpoint" "$W/killed.log"; ok $? "resumed" killed
  same exact killed "killed and resumed, same bits"
fi
if wanted recipes "airbench, wic_cnn, vgg3_bn, vgg3_dropout, deterministic"; then
  for n in airbench wic_cnn vgg3_bn vgg3_dropout; do
    (stage $n $n digits exact; ok $? "$n, deterministic" $n) & done; wait
fi
if wanted compile "a compiled network with three image sizes and a short last batch"; then
  TORCH_LOGS=recompiles LIMIT=200 stage compiled compiled every_change fast
  ok $? "compiled, with three image sizes and a short last batch" compiled
  say INFO "compile: $(grep -ac 'Recompiling function' "$W/compiled.log") recompilations (2 expected: three sizes)"
fi
if wanted half "float16 with scaled losses, as on cards without bfloat16"; then
  stage half every_option every_change fast \
    "from darkroom.training.engine import device as d; import torch; d._cuda_precision=lambda: torch.float16" &&
    grep -aq "in float16" "$W/half.log"; ok $? "float16 with scaled losses" half
fi
if wanted transfer "probe, fine-tuning, ResNet-50, VGG-16"; then
  mkdir -p "$W/backbones" "$W/pretrained"
  $PY -c "import torch; from torchvision.models import get_model as g
torch.save(g('resnet50', zero_init_residual=True).state_dict(), '$W/backbones/resnet50.pth')
torch.save(g('vgg16').state_dict(), '$W/backbones/vgg16.pth')"
  for n in finetune probe both resnet50 vgg16; do
    b=backbones; case $n in resnet50|vgg16) b=$W/backbones;; esac
    (p=exact; [ $n = resnet50 ] && p=fast
     $PY stages/pretrained.py $n --params "$W/exact.yaml" --backbones $b --downloads "$W/downloads-$n" \
       --out "$W/pretrained/$n" >"$W/$n.log" 2>&1 && stage $n $n digits $p; r=$?
     if [ $n = vgg16 ]; then grep -aq "set deterministic: false" "$W/$n.log"; ok $? "vgg16 says it cannot be deterministic" $n
     else ok $r "transfer: $n" $n; fi) & done; wait
fi
if wanted parity "the exported network answers as it was evaluated"; then
  for n in exact fast airbench compiled half finetune resnet50; do
    [ -d "$W/$n" ] || continue
    $PY - "$W" $n <<'P' >"$W/parity-$n.log" 2>&1
import sys
from pathlib import Path
from darkroom import candidate, packed
from darkroom.predictor import Predictor
from darkroom.serving.build.packaging import prove
w, n = Path(sys.argv[1]), sys.argv[2]
rows, truth = packed.read_split(w / "split.csv").rows("validation"), candidate.read_predictions(w / n).validation
print(prove(Predictor(w / n), packed.open_packed(w / "packed"), rows, candidate.softmax(truth)))
P
    ok $? "the exported network answers as evaluated: $n" parity-$n; done
fi
SYNC='import warnings, atexit
from darkroom.training.engine import loop as l
n=[0,0]; o=l.Trainer._step; seen=set()
def f(self,*a):
    torch.cuda.set_sync_debug_mode(1)
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter("always"); o(self,*a)
    torch.cuda.set_sync_debug_mode(0); n[0]+=1; n[1]+=len(w); seen.update(f"{x.filename}:{x.lineno}" for x in w)
l.Trainer._step=f; atexit.register(lambda: print("WAITS", n[1]/max(n[0],1), *sorted(seen)))'
if wanted waits "how often a step waits for the GPU"; then
  stage waits-few airbench digits fast "$SYNC"; stage waits-all every_option every_change fast "$SYNC"
  for n in few all; do
    line=$(grep -a ^WAITS "$W/waits-$n.log"); [ "${line:0:9}" = "WAITS 0.0" ]; ok $? "no step waits, $n changes: $line"; done
fi
if wanted memory "a GPU whose memory the images fill"; then
  # Memory is filled at step 3 and freed when the images have left, as if they had been that large.
  FULL='import torch
from darkroom.training.engine import batches, loop
torch.cuda.set_per_process_memory_fraction(0.02)
step, leave, ballast = loop.Trainer._step, batches.Data.leave_device, []
def filled(self, *a):
    if self.step == 3 and not ballast:
        torch.cuda.empty_cache()
        free = int(0.02 * torch.cuda.mem_get_info()[1]) - torch.cuda.memory_reserved() - 2**21
        ballast.append(torch.empty(free, dtype=torch.uint8, device="cuda"))
    step(self, *a)
def left(self):
    moved = leave(self)
    ballast[:] = [None]
    print("LEFT", moved, self.images.device, flush=True)
    return moved
loop.Trainer._step, batches.Data.leave_device = filled, left'
  stage full airbench digits fast "$FULL" && grep -aq "LEFT True cpu" "$W/full.log"
  ok $? "images leave a GPU that is full, and training goes on" full
fi
L="-m torch.distributed.run --standalone --nproc-per-node=2"
if wanted processes "two processes: on one GPU refused, on two the same network, a failing one ends both"; then
  if [ "$($PY -c 'import torch; print(torch.cuda.device_count())')" -ge 2 ]; then
    LAUNCH=$L stage two airbench digits fast; ok $? "two GPUs" two
    begun=$SECONDS; BAD='import os
from darkroom.training.engine import loop as l
o=l.Trainer._step
def f(self,*a):
    if self.step==10 and os.environ["RANK"]=="1": raise OSError("broken on purpose")
    o(self,*a)
l.Trainer._step=f'
    LAUNCH=$L LIMIT=90 stage bad airbench digits fast "$BAD"; [ $((SECONDS - begun)) -lt 60 ]
    ok $? "a failing process ends the others" bad
  else
    LAUNCH=$L LIMIT=90 stage shared airbench digits fast
    grep -aq "processes 0 and 1 of 2 have the same GPU" "$W/shared.log"; ok $? "two processes on one GPU are refused" shared
    say SKIP "two GPUs"
  fi
fi
if wanted speed "the speed recipe on 45,000 synthetic images"; then
  $PY - "$W" <<'P'
import sys
from pathlib import Path
from darkroom.data.split import summary
from tests.factories import write_packed
w, names, n = Path(sys.argv[1]), [f"c{i}" for i in range(10)], 55_000
write_packed(w / "large", names, n // 10, 32)
parts = ["train"] * 45_000 + ["validation"] * 5_000 + ["test"] * 5_000
summary.write_split(w / "large.csv", names, [i % 10 for i in range(n)], parts)
P
  DATA=large stage speed airbench large fast; ok $? "the speed recipe, 45,000 synthetic images, batches of 2,000" speed
  say INFO "cold to warm: $(grep -aoE '[0-9,]+ images/s' "$W/speed.log" | tr '\n' ';')"
fi
exit $FAILED
