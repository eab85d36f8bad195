import sys; sys.path.insert(0,"/work/main")
from collections import Counter
import pytest, os
from pathlib import Path
import streamlsh.buckets.tail as T, streamlsh.commit as C, streamlsh.search as S
import tests.properties.test_state_machine as M
from hypothesis import settings, HealthCheck
n=Counter()
od=T.due_merge
def dm(s):
    r=od(s); n["merge"]+=bool(r); n["tail->segment"]+=1; return r
T.due_merge=dm
oe=C._Batch._empty_blocks if hasattr(C._Batch,"_empty_blocks") else None
def eb(self,d):
    r=oe(self,d); n["emptied with moves"]+=bool(r); return r
C._Batch._empty_blocks=eb
ob=C._Batch._empty_block
def eb1(self,*a):
    n["block emptied"]+=1; return ob(self,*a)
C._Batch._empty_block=eb1
oc=M.IndexMachine.commit
@pytest.mark.parametrize("family",("hyperplane","voronoi"))
@pytest.mark.usefixtures("small_parts")
def test_x(family,tmp_path):
    m=type("X",(M.IndexMachine,),{"empty":M.new_index(tmp_path,family)})
    M.run_state_machine_as_test(m,settings=settings(max_examples=int(os.environ.get("N","40")),stateful_step_count=int(os.environ.get("STEPS","40")),deadline=None,suppress_health_check=list(HealthCheck),print_blob=True))
    print(family,dict(n)); n.clear()
