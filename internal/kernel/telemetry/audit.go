//go:build linux

package telemetry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// finding is a row of kernel.audit.findings.
type finding struct {
	Rule      string `json:"rule"`
	Title     string `json:"title"`
	Severity  string `json:"severity"`
	Technique string `json:"technique"`
}

// maxCommandLine bounds what a record says of arguments: most views show less,
// and the audit keeps 4 KiB.
const maxCommandLine = 2 << 10

// maxSentence is what the body quotes of them.
const maxSentence = 200

// severityOf is syslog's mapping: notice is above info, critical above error.
func severityOf(s audit.Severity) (plog.SeverityNumber, string) {
	switch s {
	case audit.Critical:
		return plog.SeverityNumberError2, "CRITICAL"
	case audit.Warning:
		return plog.SeverityNumberWarn, "WARN"
	case audit.Notice:
		return plog.SeverityNumberInfo2, "NOTICE"
	}
	return plog.SeverityNumberInfo, "INFO"
}

// Audit adds one act.
func (r *Records) Audit(e *audit.Event) {
	name := semconv.EventKernelAuditPrefix + e.Kind.String()
	if e.Kind == audit.Lost {
		a := r.warn(scopeAudit, nil, name, e.Time, fmt.Sprintf("%d audit events were lost here: they came faster than they were read.", e.Lost))
		a.PutInt(semconv.KernelAuditSeq, int64(e.Seq))
		a.PutInt(semconv.KernelAuditLost, int64(e.Lost))
		return
	}
	who := subjectOf(kernel.Process{Comm: e.Comm, Exe: e.Exe, Service: e.Service}, e.Container, e.Pod)
	var worst audit.Finding
	if len(e.Findings) > 0 {
		worst = slices.MaxFunc(e.Findings, func(a, b audit.Finding) int { return cmp.Compare(a.Severity, b.Severity) })
	}
	severity, text := severityOf(worst.Severity)
	a := r.add(scopeAudit, &who, name, e.Time, severity, text, sayAudit(e, worst))
	a.PutInt(semconv.KernelAuditSeq, int64(e.Seq))
	a.PutInt(semconv.ProcessPID, int64(e.PID))
	a.PutInt(semconv.ProcessParentPID, int64(e.Parent))
	a.PutStr(semconv.UserID, fmt.Sprint(e.UID))
	a.PutInt(semconv.KernelAuditResult, e.Result)
	putText(a, semconv.ProcessExecutablePath, e.Exe)
	putText(a, semconv.ProcessCommandLine, shorten(e.CommandLine(), maxCommandLine))
	putText(a, semconv.FilePath, e.Path)
	putText(a, semconv.KernelCgroup, e.Cgroup)
	putText(a, semconv.ContainerImageName, e.Image)
	putText(a, semconv.ContainerName, e.ContainerName)
	putText(a, semconv.KernelAuditCall, e.Call)
	putText(a, semconv.KernelAuditDetail, detail(e))
	putText(a, semconv.KernelAuditAncestors, ancestors(e))
	if e.Denied() {
		a.PutBool(semconv.KernelAuditDenied, true)
	}
	if worst.Rule == "" {
		return
	}
	a.PutStr(semconv.KernelAuditRule, worst.Rule)
	a.PutStr(semconv.KernelAuditSeverity, worst.Severity.String())
	putText(a, semconv.KernelAuditTechnique, worst.Technique)
	all := make([]finding, len(e.Findings))
	for i, f := range e.Findings {
		all[i] = finding{f.Rule, f.Title, f.Severity.String(), f.Technique}
	}
	putJSON(a, semconv.KernelAuditFindings, all)
}

func shorten(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func ancestors(e *audit.Event) string {
	var b strings.Builder
	for i, a := range e.Ancestors {
		if i > 0 {
			b.WriteString(" < ")
		}
		fmt.Fprintf(&b, "%s(%d)", a.Comm, a.PID)
	}
	return b.String()
}

// detail says what a kind has besides the path.
func detail(e *audit.Event) string {
	var parts []string
	if e.Source != "" || e.FSType != "" {
		parts = append(parts, strings.TrimSpace(e.FSType+" "+e.Source))
	}
	if len(e.Namespaces) > 0 {
		parts = append(parts, "namespaces "+strings.Join(e.Namespaces, ", "))
	}
	if e.TargetPID != 0 {
		parts = append(parts, fmt.Sprintf("process %d", e.TargetPID))
	}
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	return strings.Join(parts, ", ")
}

func sayAudit(e *audit.Event, worst audit.Finding) string {
	s := act(e)
	if where := cmp.Or(e.ContainerName, e.Container[:min(len(e.Container), shortContainer)]); where != "" {
		s += " in container " + where
	}
	if e.Result < 0 && e.Kind != audit.Exit {
		s += fmt.Sprintf(", and was refused: %s", unix.Errno(-e.Result).Error())
	}
	if worst.Title != "" {
		return worst.Title + ": " + s + "."
	}
	return s + "." // it begins with a name, which keeps its case
}

// act says who did what.
func act(e *audit.Event) string {
	who := fmt.Sprintf("process %d", e.PID)
	if name := cmp.Or(path.Base(cmp.Or(e.Exe, e.Comm)), e.Comm); name != "." {
		who = fmt.Sprintf("%s (%d)", name, e.PID)
	}
	switch e.Kind {
	case audit.Exec:
		by := ""
		if len(e.Ancestors) > 0 {
			by = " by " + e.Ancestors[0].Comm
		}
		return fmt.Sprintf("%s was started%s", cmp.Or(shorten(e.CommandLine(), maxSentence), e.Path), by)
	case audit.Exit:
		return who + " ended"
	case audit.Fork:
		return fmt.Sprintf("%s made process %d", who, e.TargetPID)
	case audit.Open:
		how := " for reading"
		if e.Write {
			how = " for writing"
		}
		return who + " opened " + e.Path + how
	case audit.Connect:
		return who + " connected to " + e.Path
	case audit.Namespace:
		return fmt.Sprintf("%s changed its namespaces (%s %s)", who, e.Call, strings.Join(e.Namespaces, ", "))
	case audit.Mount:
		return fmt.Sprintf("%s mounted %s on %s", who, cmp.Or(e.Source, e.FSType, "something"), e.Path)
	case audit.Ptrace:
		return fmt.Sprintf("%s reached into process %d (%s)", who, e.TargetPID, cmp.Or(e.Detail, e.Call))
	case audit.BPF:
		return fmt.Sprintf("%s loaded or attached a BPF program (%s)", who, cmp.Or(e.Detail, "without a name"))
	case audit.Module:
		return fmt.Sprintf("%s changed kernel modules (%s %s)", who, e.Call, cmp.Or(e.Path, e.Detail))
	}
	return fmt.Sprintf("%s called %s", who, cmp.Or(e.Call, e.Kind.String()))
}

// putJSON keeps rows as text: attributes have no tables.
func putJSON(a pcommon.Map, key string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + key + ": " + err.Error()) // rows of texts and numbers
	}
	a.PutStr(key, string(text))
}
