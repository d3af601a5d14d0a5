package observer

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestStatLine(t *testing.T) {
	const fields = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 42 18 19 20 1234 22 23\n"
	f := func(line string, threads, pages int64, ok bool) {
		t.Helper()
		if a, b, got := parseStat([]byte(line)); a != threads || b != pages || got != ok {
			t.Errorf("%q: got %d, %d, %v, want %d, %d, %v", line, a, b, got, threads, pages, ok)
		}
	}
	f("7 (shop)"+fields, 42, 1234, true)
	f("7 (a) 1 (b ) c)"+fields, 42, 1234, true)
	f("7 (shop) S 1 2", 0, 0, false)
	f("7 (shop)"+strings.ReplaceAll(fields, "1234", "x"), 0, 0, false)
	f("7 (shop)"+strings.ReplaceAll(fields, "42", "-1"), 0, 0, false)
	f("", 0, 0, false)
	f(")", 0, 0, false)
}

func TestProcess(t *testing.T) {
	var p process
	p.read()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if of, value, _ := strings.Cut(line, ":"); of == "Threads" {
			if n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64); p.threads < n-5 || p.threads > n+5 {
				t.Errorf("%d threads, the kernel says %d", p.threads, n)
			}
		} else if of == "VmRSS" {
			n, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if p.rss < n<<9 || p.rss > n<<11 {
				t.Errorf("resident are %d bytes, the kernel says %d KiB", p.rss, n)
			}
		}
	}
}

func TestOpenFilesAreCounted(t *testing.T) {
	const opened = 500
	var p process
	before, ok := p.countByListing()
	if !ok {
		t.Fatal("cannot list the descriptors")
	}
	quick, modern := countByStat()
	for range opened {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if n, _ := p.countByListing(); n != before+opened {
		t.Errorf("listed: %d, want %d", n, before+opened)
	}
	if n, _ := countByStat(); modern && (n != quick+opened || n != before+opened) {
		t.Errorf("asked: %d, want %d", n, before+opened)
	}
}
