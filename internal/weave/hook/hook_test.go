package hook_test

import (
	"runtime"
	"testing"
)

func TestWoven(t *testing.T) {
	tc := woven(t, runtime.GOROOT(), "runtime", "carry")
	out, err := tc.command(t, "testdata/local", "test", "-count=1", "-cpu=1,2", "-v", ".").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
