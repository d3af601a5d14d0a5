package prom

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

// TestPromtool asks with Prometheus' own tool.
func TestPromtool(t *testing.T) {
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed")
	}
	f := serve(t)
	now := time.Now().Truncate(time.Second)
	for i := range 5 {
		f.put(t, store.Tenant{}, now.Add(time.Duration(i-4)*time.Second), float64(i), "__name__", "up", "job", "a")
	}
	start, end := now.Add(-2*time.Second).Format(time.RFC3339), now.Format(time.RFC3339)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"instant", "--time=" + end, f.url, "up"}, `up{job="a"} => 4`},
		{[]string{"range", "--start=" + start, "--end=" + end, "--step=1s", f.url, "up"}, "4 @["},
		{[]string{"series", "--match=up", f.url}, `{__name__="up", job="a"}`},
		{[]string{"labels", f.url, "job"}, "a"},
	} {
		out, err := exec.Command(path, append([]string{"query"}, c.args...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("promtool query %v: %v\n%s", c.args, err, out)
		}
	}
}
