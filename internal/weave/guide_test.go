package weave

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guanlan-io/guanlan/internal/testkit/otlpsink"
)

// The aspect that the guide shows is woven, and captures what the guide says.
func TestGuideAspect(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guides/weave/aspects.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		_, rest, ok := strings.Cut(string(guide), "```"+kind+"\n")
		text, _, _ := strings.Cut(rest, "```")
		if !ok {
			t.Fatalf("the guide shows no %s", kind)
		}
		return text
	}
	helper := strings.SplitN(block("go"), "\n", 2)[1] // without the name of the file
	dir := folder(t, map[string]string{
		"go.mod":        "module example.com/order\n\ngo 1.24\n\nrequire example.com/ledger v1.5.0\n\nreplace example.com/ledger => ./ledger\n",
		"main.go":       "package main\n\nimport (\n\t\"context\"\n\n\t\"example.com/ledger\"\n)\n\nfunc main() {\n\tvar b ledger.Book\n\t_ = b.Post(context.Background(), \"rent\")\n\t_ = b.Post(context.Background(), \"\")\n}\n",
		"ledger/go.mod": "module example.com/ledger\n\ngo 1.24\n",
		"ledger/l.go":   "package ledger\n\nimport (\n\t\"context\"\n\t\"errors\"\n)\n\ntype Book struct{}\n\nfunc (*Book) Post(ctx context.Context, account string) error {\n\tif account == \"\" {\n\t\treturn errors.New(\"no account\")\n\t}\n\treturn nil\n}\n",
	})
	before := hashOf(t, dir)
	r := newTrial(t, dir, map[string]string{"aspect.yaml": block("yaml"), "helper.go": helper})
	bin := filepath.Join(t.TempDir(), "order")
	if r.must(t, "build", "-o", bin); len(r.warned) > 0 {
		t.Errorf("warned: %q", r.warned)
	}
	sink := otlpsink.New(t)
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), sink.Env()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("run: %v\n%s", err, out)
	}
	received := sink.WaitSpans(2)
	got := received.Render()
	for _, want := range []string{"post [internal]\n", "post [internal] error.type=refused", "metric ledger.posting.duration error.type=refused count=1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	spans := received.Traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	if account, ok := spans.At(0).Attributes().Get("ledger.account"); !ok || account.Str() != "rent" {
		t.Errorf("the first posting has attributes %v", spans.At(0).Attributes().AsRaw())
	}
	if hashOf(t, dir) != before {
		t.Error("the folder has changed")
	}
}
