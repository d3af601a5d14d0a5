package layout

import (
	"cmp"
	"strconv"
	"strings"
)

// version is a release of Go or of a module. The zero value is unknown.
type version [3]int

// parseVersion reads "go1.26.1", "go1.25rc2", "devel go1.27-abc", "go1.24.4 X:…",
// "v1.85.0" and "v1.60.0-dev", as the release that they belong to.
func parseVersion(s string) (version, bool) {
	s = strings.TrimPrefix(s, "devel ")
	s, _, _ = strings.Cut(s, " ")
	rest, ok := strings.CutPrefix(s, "go")
	if !ok {
		rest, ok = strings.CutPrefix(s, "v")
	}
	if !ok {
		return version{}, false
	}
	var v version
	for i := range v {
		end := 0
		for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(rest[:end])
		if err != nil {
			return version{}, false
		}
		v[i] = n
		if end == len(rest) || rest[end] != '.' {
			return v, v != version{}
		}
		rest = rest[end+1:]
	}
	return v, v != version{}
}

func (v version) compare(w version) int {
	return cmp.Or(cmp.Compare(v[0], w[0]), cmp.Compare(v[1], w[1]), cmp.Compare(v[2], w[2]))
}

func (v version) before(w version) bool { return v.compare(w) < 0 }
