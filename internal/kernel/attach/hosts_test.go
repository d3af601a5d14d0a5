//go:build linux && (amd64 || arm64)

package attach

import (
	"strconv"
	"strings"
	"testing"
)

// Each pattern is taken or refused with what to write instead.
func TestHostPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		keys    int
		refused string
	}{
		{"*", 1, ""}, {"order", 1, ""}, {"Order.Internal.", 1, ""}, {"*.internal", 1, ""}, {"_x.y", 1, ""},
		{"10.0.0.1", 1, ""}, {"::1", 1, ""}, {"[fd00::1]", 1, ""},
		{"10.0.0.0/8", 1, ""}, {"10.9.9.9/16", 1, ""}, {"172.16.0.0/12", 16, ""}, {"192.168.1.128/25", 128, ""}, {"0.0.0.0/0", 1, ""}, {"10.0.0.1/32", 1, ""},
		{"", 0, "want a name"}, {"*internal", 0, "want a name"}, {"api.*.com", 0, "want a name"}, {"*.", 0, "want a name"},
		{"order:80", 0, "without a port"}, {"https://order", 0, "without scheme"}, {"order/path", 0, "without scheme"}, {"10.0.0.0/99", 0, "without scheme"},
		{"fd00::/8", 0, "single addresses"}, {"bücher.example", 0, "letters, digits"}, {"*.123", 0, "a letter"}, {strings.Repeat("a", maxPattern+1), 0, "at most 95"},
	} {
		keys, _, err := hostPattern(tt.pattern)
		if err != nil {
			keys = nil
		}
		if len(keys) != tt.keys || (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%q: %d keys, %v; want %d, %q", tt.pattern, len(keys), err, tt.keys, tt.refused)
		}
	}
	if err := CheckHosts([]string{"*.internal", "a.internal"}, []string{"b.internal", "*"}); err != nil {
		t.Error(err)
	}
	for _, pattern := range []string{"10.0.0.1", "a.internal", "*"} {
		if err := CheckHosts([]string{"A.internal", "10.0.0.1/32", "*"}, []string{pattern}); err == nil || !strings.Contains(err.Error(), strconv.Quote(pattern)) {
			t.Errorf("both: %v", err)
		}
	}
	// Networks that are written out into the same entries: the narrower one counts, whatever the order.
	for _, order := range [][2][]string{{{"10.0.0.0/12"}, {"10.5.0.0/16"}}, {{"10.5.0.0/16"}, {"10.0.0.0/12"}}} {
		table, err := newHostTable(order[0], order[1])
		if err != nil {
			t.Fatal(err)
		}
		narrow, _, _ := hostPattern("10.5.0.0/16")
		wide, _, _ := hostPattern("10.6.0.0/16")
		if a, b := table.verdicts[narrow[0]], table.verdicts[wide[0]]; a == b || (a == writeTo) != (order[0][0] == "10.5.0.0/16") {
			t.Errorf("%q: %d for the narrow, %d for the wide", order, a, b)
		}
	}
	if err := CheckHosts(nil, []string{"0.0.0.1/1", "1.0.0.1/9"}); err != nil {
		t.Error(err)
	}
}
