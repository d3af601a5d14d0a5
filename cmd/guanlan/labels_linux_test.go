package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestProfileOfATrace finds the CPU time of one request by its trace id: the SDK labels
// the goroutine, the kernel's profiler reads the label.
func TestProfileOfATrace(t *testing.T) {
	_, need := checking(t)
	need(t, "profile")
	program := filepath.Join(t.TempDir(), "burn")
	build := exec.Command("go", "build", "-o", program, "./testdata/burn")
	build.Dir = "../../sdk"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p := start(t, t.TempDir(), "--kernel", "--set", "receivers::kernel::profile::interval=1s", "--set", "receivers::kernel::profile::hz=97")
	burn := exec.Command(program)
	burn.Env = append(os.Environ(), "GUANLAN_PROFILE_LABELS=true", "OTEL_TRACES_SAMPLER=always_on", "OTEL_SERVICE_NAME=burn", "OTEL_EXPORTER_OTLP_ENDPOINT="+p.http)
	burn.Stderr = os.Stderr
	out, err := burn.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	input, err := burn.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := burn.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = burn.Process.Kill(); _ = burn.Wait() })
	var ids []string
	for lines := bufio.NewScanner(out); len(ids) < 6 && lines.Scan(); { // the process is known by now
		ids = append(ids, lines.Text())
	}
	if err := input.Close(); err != nil {
		t.Error(err)
	}
	var flame struct {
		Total int64
		Unit  string
		Names []string
	}
	query := func(filter string) error {
		return p.get("", "/api/v1/profiles/flame", url.Values{"type": {"cpu"}, "filter": {filter}, "from": {"now-10m"}, "to": {"now+1m"}}, &flame)
	}
	id := ids[len(ids)-2]
	eventually(t, "the profile of trace "+id, func() error {
		if err := query("trace_id = " + id); err != nil {
			return err
		}
		if flame.Total == 0 {
			return errors.New("no samples")
		}
		if !slices.ContainsFunc(flame.Names, func(n string) bool { return strings.HasSuffix(n, "main.burn") }) {
			return fmt.Errorf("functions: %v", flame.Names)
		}
		return nil
	})
	one := flame.Total
	if err := query("service.name = burn"); err != nil || flame.Total <= one {
		t.Errorf("all requests took %d %s, one of them %d; %v", flame.Total, flame.Unit, one, err)
	}
	if err := query("trace_id = 4bf92f3577b34da6a3ce929d0e0e4736"); err == nil && flame.Total != 0 {
		t.Errorf("another trace has %d", flame.Total)
	}
	// The span is there under the same id, so the page of the trace can lead here.
	eventually(t, "trace "+id, func() error {
		var trace any
		return p.get("", "/guanlan/v1/traces/"+id, nil, &trace)
	})
}
