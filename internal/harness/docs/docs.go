// Package docs reads the commands that documents show, so that tests run them or hold them against the programs. Start
// with [Shell], which has a document's commands for a shell, or [Of], which has what it asks of one program.
//
// It knows as much of Markdown and of shells as the documents here use: blocks between lines of ```, or four spaces
// further in; quotes, a backslash at the end of a line, loops, and what joins commands.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Command is one command in a block of the kind "sh".
type Command struct {
	Line    int    // of the document
	Section string // the heading above it
	Text    string // as a shell takes it, with all its lines
	Code    int    // exit code that the document states behind it: "# exit code 3"
	Prints  []string
	// lines of the block of the kind "text" that follows: some of what the command prints
}

// block is lines that are shown as they are.
type block struct {
	kind, section string
	first         int // line of the document, from 1
	lines         []string
}

// blocks are those of a document.
func blocks(document string) (found []block) {
	var section string
	var inside bool
	var b block
	begin := func(kind string, first int) { b, inside = block{kind: kind, section: section, first: first}, true }
	end := func() {
		if inside {
			found, inside = append(found, b), false
		}
	}
	fenced := false
	for i, line := range strings.Split(document, "\n") {
		kind, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		indented := strings.HasPrefix(line, "    ")
		switch {
		case fence && fenced:
			end()
			fenced = false
		case fence:
			end()
			begin(kind, i+2)
			fenced = true
		case fenced:
			b.lines = append(b.lines, line)
		case inside && indented:
			b.lines = append(b.lines, strings.TrimPrefix(line, "    "))
		case indented:
			begin("", i+1)
			b.lines = append(b.lines, strings.TrimPrefix(line, "    "))
		default:
			end()
			if title, ok := strings.CutPrefix(line, "## "); ok {
				section = title
			}
		}
	}
	end()
	return found
}

// states is what says with which code a command ends.
var states = regexp.MustCompile(`#.*\bexit code (\d+)\s*$`)

// Shell returns the commands in a document's blocks of the kind "sh", in their order. A command goes on where its line
// ends in a backslash, and a loop until its "done".
func Shell(document string) (commands []Command) {
	for _, b := range blocks(document) {
		switch {
		case b.kind == "text" && len(commands) > 0:
			commands[len(commands)-1].Prints = b.lines
		case b.kind == "sh":
			commands = append(commands, b.commands()...)
		}
	}
	return commands
}

func (b block) commands() (commands []Command) {
	open, loop := false, false
	for i, line := range b.lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if !open {
			commands = append(commands, Command{Line: b.first + i, Section: b.section})
			loop = strings.HasPrefix(line, "for ")
		}
		c := &commands[len(commands)-1]
		c.Text += line + "\n"
		if code := states.FindStringSubmatch(line); code != nil {
			c.Code, _ = strconv.Atoi(code[1]) // of digits alone
		}
		open = strings.HasSuffix(line, `\`) || loop && !strings.HasPrefix(line, "done")
	}
	return commands
}

// separators are what stands between two commands of a line.
var separators = []string{"|", "||", "&&", ";", "&", "do", "then", "until", "while", "$("}

// Read returns the texts of all documents below a directory, by their paths.
func Read(dir string) (texts map[string]string, err error) {
	texts = map[string]string{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		texts[path] = string(text)
		return err
	})
	return texts, err
}

// Of returns what a document asks of a program in all its blocks, as the words behind the program's name. An ellipsis
// ("...") stands for words that the document leaves out, and is left out here.
func Of(program, document string) (asked [][]string, err error) {
	for _, b := range blocks(document) {
		text := strings.ReplaceAll(strings.Join(b.lines, "\n"), "\\\n", " ")
		for line := range strings.SplitSeq(text, "\n") {
			words, err := Words(strings.TrimPrefix(line, "$ "))
			if err != nil {
				if strings.Contains(line, program+" ") && b.kind != "text" {
					return nil, fmt.Errorf("line %d: %w", b.first, err)
				}
				continue // it is no command
			}
			asked = append(asked, of(program, words)...)
		}
	}
	return asked, nil
}

// of finds the program where a command begins.
func of(program string, words []string) (asked [][]string) {
	for begin := 0; begin < len(words); {
		end := begin
		for end < len(words) && !slices.Contains(separators, words[end]) {
			end++
		}
		if c := words[begin:end]; len(c) > 1 && (c[0] == program || c[0] == "bin/"+program) {
			asked = append(asked, slices.DeleteFunc(slices.Clone(c[1:]), func(w string) bool { return w == "..." }))
		}
		begin = end + 1
	}
	return asked
}

// Words splits a line as a shell does, up to a comment. What joins commands (";", "&&", "|", "$(", ...) is a word, and
// variables stay as they are named.
func Words(line string) (words []string, err error) {
	word, has, quote := "", false, rune(0)
	end := func() {
		if has {
			words = append(words, word)
		}
		word, has = "", false
	}
	for i := 0; i < len(line); i++ {
		c := rune(line[i])
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word += string(line[i])
		case c == '\'' || c == '"':
			quote, has = c, true
		case c == ' ' || c == '\t':
			end()
		case c == '#' && !has:
			return words, nil
		case strings.ContainsRune(";|&", c):
			end()
			if n := len(words); i > 0 && line[i-1] == line[i] && n > 0 {
				words[n-1] += string(c)
			} else {
				words = append(words, string(c))
			}
		default:
			word, has = word+string(line[i]), true
		}
	}
	end()
	if quote != 0 {
		return nil, fmt.Errorf("%q: a quote is not closed", line)
	}
	return words, nil
}
