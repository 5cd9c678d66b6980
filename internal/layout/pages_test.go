package layout_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each page of docs says first for whom it is and which question it answers, in one paragraph
// that begins with "For" and holds the question.
func TestPagesSayForWhom(t *testing.T) {
	for _, page := range docsPages(t) {
		if err := saysForWhom(page.text); err != "" {
			t.Errorf("%s: %s", page.name, err)
		}
	}
	for text, good := range map[string]bool{
		"# A\n\nFor operators: what is to be watched?\n\nMore.\n":  true,
		"# A\n\nOperators watch this.\n\nFor whom? For them.\n":    false,
		"# A\n\nFor operators.\n\nWhat is to be watched?\n":        false,
		"Intro.\n\n# A\n\nFor operators: what is to be watched?\n": false,
	} {
		if (saysForWhom(text) == "") != good {
			t.Errorf("%q is taken for good: %t, want %t", text, !good, good)
		}
	}
}

func saysForWhom(text string) string {
	parts := strings.SplitN(text, "\n\n", 3)
	switch {
	case len(parts) < 2 || !strings.HasPrefix(parts[0], "# ") || strings.Contains(parts[0], "\n"):
		return "does not begin with its title and an empty line"
	case !strings.HasPrefix(parts[1], "For ") || !strings.Contains(parts[1], "?"):
		return `the paragraph below the title is not "For …: …?", for whom and which question`
	}
	return ""
}

// The index, docs/README.md, leads to every page of docs.
func TestIndexLeadsToEveryPage(t *testing.T) {
	index := read(t, "docs/README.md")
	for _, page := range docsPages(t) {
		if name := filepath.Base(page.name); name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/README.md does not link %s", name)
		}
	}
}

// Both indexes of programs, docs/README.md and examples/README.md, lead to every example that has
// a README of its own.
func TestIndexesLeadToEveryExample(t *testing.T) {
	readmes, err := filepath.Glob(filepath.Join(root, "examples", "*", "README.md"))
	if err != nil || len(readmes) < 8 {
		t.Fatalf("only %d examples with a README: %v", len(readmes), err)
	}
	for index, before := range map[string]string{"docs/README.md": "../examples/", "examples/README.md": ""} {
		text := read(t, index)
		for _, readme := range readmes {
			if link := before + filepath.Base(filepath.Dir(readme)) + "/README.md"; !strings.Contains(text, "]("+link+")") {
				t.Errorf("%s does not link %s", index, link)
			}
		}
	}
}

// The table of docs/how-it-works.md, to which the README sends for the packages, has each of them.
func TestEveryPackageIsDescribed(t *testing.T) {
	text := read(t, "docs/how-it-works.md")
	for pkg := range exported {
		if !strings.Contains(text, "[`"+pkg+"`](../"+pkg+")") {
			t.Errorf("docs/how-it-works.md does not say what %s does", pkg)
		}
	}
}

// docs/findings.md has one row for each script of findings, with the sentence that the script
// begins with, and no other rows.
func TestFindingsIndex(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root, "findings", "*.sh"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no findings: %v", err)
	}
	listed := map[string]int{}
	for _, m := range regexp.MustCompile(`\]\(\.\./findings/([^)]*)\)`).FindAllStringSubmatch(read(t, "docs/findings.md"), -1) {
		listed[m[1]]++
	}
	index := read(t, "docs/findings.md")
	for _, path := range scripts {
		name := filepath.Base(path)
		row := "| [" + strings.TrimSuffix(name, ".sh") + "](../findings/" + name + ") | " + firstSentence(read(t, "findings/"+name)) + " |"
		if strings.Count(index, row+"\n") != 1 || listed[name] != 1 {
			t.Errorf("docs/findings.md wants this row, once:\n%s", row)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("docs/findings.md lists %s, which does not exist", name)
	}
}

// Each finding that a document names, linked or not, exists.
func TestNamedFindingsExist(t *testing.T) {
	known, n := sourceNames(t), 0
	for _, path := range documents(t) {
		for _, name := range regexp.MustCompile(`findings/[a-z0-9-]+\.sh`).FindAllString(read(t, path), -1) {
			if n++; !known[name] && path != "CHANGELOG.md" { // which tells of what was
				t.Errorf("%s names %s, which does not exist", path, name)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d names found", n)
	}
}

// firstSentence is the comment that a script begins with, up to its first empty line or the end of its
// first sentence.
func firstSentence(script string) string {
	var lines []string
	for _, line := range strings.Split(script, "\n")[1:] {
		line, ok := strings.CutPrefix(line, "# ")
		if !ok {
			break
		}
		lines = append(lines, line)
		if strings.HasSuffix(line, ".") {
			break
		}
	}
	return strings.Join(lines, " ")
}

// External links are few, since nothing here can check them: each stands, with the day on which
// somebody last looked at it, in docs/links.txt, and nothing else does.
func TestExternalLinksAreListed(t *testing.T) {
	listed := map[string]bool{}
	for line := range strings.Lines(read(t, "docs/links.txt")) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 || !regexp.MustCompile(`^20\d\d-\d\d-\d\d$`).MatchString(fields[1]) {
			t.Errorf("docs/links.txt: %q is not a link, a day and what was seen", line)
			continue
		}
		if listed[fields[0]] {
			t.Errorf("docs/links.txt lists %s twice", fields[0])
		}
		listed[fields[0]] = true
	}
	used := map[string]bool{}
	for _, path := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\((https?://[^)\s]+)\)`).FindAllStringSubmatch(read(t, path), -1) {
			used[m[1]] = true
			if !listed[m[1]] {
				t.Errorf("%s links %s: look at it, and list it in docs/links.txt", path, m[1])
			}
		}
	}
	for link := range listed {
		if !used[link] {
			t.Errorf("docs/links.txt lists %s, which nothing links", link)
		}
	}
}

type page struct{ name, text string }

// docsPages are the pages of docs.
func docsPages(t *testing.T) []page {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(names) < 10 {
		t.Fatalf("%d pages: %v", len(names), err)
	}
	var all []page
	for _, name := range names {
		rel := "docs/" + filepath.Base(name)
		all = append(all, page{rel, read(t, rel)})
	}
	return all
}

// documents are the Markdown files of the repository, by their path from its root.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !d.IsDir() && filepath.Ext(path) == ".md":
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			all = append(all, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("%d documents: %v", len(all), err)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
