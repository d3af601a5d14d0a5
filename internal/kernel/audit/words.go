package audit

import (
	"fmt"
	"strings"
)

// maxWords of a list are named; who wants all reads the file.
const maxWords = 8

// String says what an event is asked for, for people: in a container, program one
// of sh, bash, with a terminal.
func (m *Match) String() string {
	var parts []string
	if m.In != "" {
		parts = append(parts, map[string]string{"container": "in a container", "host": "outside containers"}[m.In])
	}
	for _, l := range []struct {
		what string
		list strs
	}{
		{"program", m.Exe}, {"arguments with", m.Args}, {"parent", m.Parent}, {"ancestor", m.Ancestor}, {"path", m.Path}, {"call", m.Call},
		{"namespace", m.Namespace}, {"source", m.Source}, {"file system", m.FSType}, {"detail", m.Detail}, {"container", m.Container},
		{"pod", m.Pod}, {"image", m.Image}, {"service", m.Service}, {"cgroup", m.Cgroup},
	} {
		if len(l.list) == 0 {
			continue
		}
		s := strings.Join(l.list[:min(len(l.list), maxWords)], " | ")
		if more := len(l.list) - maxWords; more > 0 {
			s += fmt.Sprintf(" | %d more", more)
		}
		parts = append(parts, l.what+" "+s)
	}
	if m.Access != "" {
		parts = append(parts, "for "+map[string]string{"write": "writing", "read": "reading"}[m.Access])
	}
	switch m.Result {
	case "ok":
		parts = append(parts, "granted")
	case "denied":
		parts = append(parts, "refused")
	}
	if len(m.UID) > 0 {
		parts = append(parts, "user "+strings.Trim(fmt.Sprint(m.UID), "[]"))
	}
	for _, b := range []struct {
		want    *bool
		yes, no string
	}{
		{m.Terminal, "with a terminal", "without a terminal"},
		{m.Entered, "of a process that came from outside", "of a process that began inside"},
		{m.First, "the container's first process", "not the container's first process"},
		{m.Unlinked, "a program without a name in any folder", "a program with a name"},
		{m.Created, "a new file", "an old file"},
	} {
		if b.want != nil {
			parts = append(parts, map[bool]string{true: b.yes, false: b.no}[*b.want])
		}
	}
	if len(parts) == 0 {
		return "anything"
	}
	return strings.Join(parts, ", ")
}
