#include <CUnit/Basic.h>
#include <archive.h>
#include <archive_entry.h>
#include <pthread.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "tests/ingest/parse_test.h"
#include "engine/base/mem.h"
#include "ingest/parse/html_feed.h"
#include "ingest/parse/worker.h"

static cn_parser *parser;
static cn_arena arena;

static int set_up(void) {
    setenv("CAIRN_PARSE_SECONDS", "3", 1);
    cn_arena_init(&arena, 1 << 20, (size_t)1 << 30);
    return cn_parser_new(2, &parser) != CN_OK;
}

static int tear_down(void) {
    cn_parser_free(parser);
    cn_arena_done(&arena);
    return 0;
}

static bool block_is(const cn_parsed *d, uint32_t i, cn_block_kind kind, const char *text) {
    if (i >= d->n_blocks)
        return false;
    const cn_block *b = &d->blocks[i];
    return b->kind == kind && cn_str_is((cn_str){d->text.p + b->from, b->to - b->from}, text);
}

static void html(void) {
    cn_parsed d = {0};
    cn_arena_reset(&arena);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_HTML, CN_STR("<title>T &amp; x</title><nav>menu</nav><script>no()</script><h2>Head<a class=headerlink>#</a></h2>"
        "<p>one <b>bo</b>ld<p style='display: none'>hidden<ul><li>a<li>b</ul><table><tr><td>1<td>2</table><pre> x\n  y</pre>"), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.title, "T & x"));
    CU_ASSERT_EQUAL_FATAL(d.n_blocks, 6);
    CU_ASSERT(block_is(&d, 0, CN_BLOCK_HEADING, "Head") && d.blocks[0].level == 2);
    CU_ASSERT(block_is(&d, 1, CN_BLOCK_PARA, "one bold"));
    CU_ASSERT(block_is(&d, 2, CN_BLOCK_ITEM, "a") && block_is(&d, 3, CN_BLOCK_ITEM, "b"));
    CU_ASSERT(block_is(&d, 4, CN_BLOCK_ROW, "1\t2"));
    CU_ASSERT(block_is(&d, 5, CN_BLOCK_CODE, " x\n  y"));
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_HTML, CN_STR("<p>side</p><div role=main><h1>H</h1>main</div><p>end</p>"), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.text, "H\n\nmain") && cn_str_is(d.title, "H"));
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_HTML, CN_STR("<html><title>A</title><body><p>one</p></body></html >\n<html><head><title>B</title></head><body>"
        "<ruby>\u6f22<rt>kan</rt></ruby> &lt;/html&gt;</BODY></HTML> end"), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.title, "A") && cn_str_is(d.text, "one\n\n\u6f22 </html> end"));
}

/* Text as browsers show it: what is written, and what is read. */
static void html_as_browsers_do(void) {
    static const struct { const char *page, *text; } pages[] = {
        {"<p>&copy 2024 A&amp B &ampx &notit &eacutet&eacute &COPY; &AMP &lt3 &frac12s", "\u00a9 2024 A& B &x \u00acit \u00e9t\u00e9 \u00a9 & <3 \u00bds"},
        {"<p>&notin; &nosuch; &nosuch & &; &a &#169 &#xa9; AT&T", "\u2209 &nosuch; &nosuch & &; &a \u00a9 \u00a9 AT&T"},
        {"<p>a<a href='?x=1&copy=2' title='<textarea>'>b</a>c", "abc"},
        {"<p>one<textarea name=x>\n  <b>two &lt; &amp 3</b> <!-- \n</TEXTAREA ><p>four", "one\n\n  <b>two < & 3</b> <!--\n\nfour"},
        {"<title>On <textarea> &amp more</title><p>text", "text"},
        {"<p>seen<noscript><p>turn scripts on <!-- </noscript><p>seen too", "seen\n\nseen too"},
        {"<script>a = '<textarea>&copy </body>'</script><!-- <textarea> --><style>/*<noscript>*/</style><p>read", "read"},
        {"<p>never closed <textarea>is read <b>on", "never closed\n\nis read on"}, {"<p>x<noscript><p>y", "x"}, {"<p>a<!-- b &copy c", "a"}};
    cn_parsed d = {0};
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        cn_arena_reset(&arena);
        CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_HTML, cn_str_of(pages[i].page), &arena, &d), CN_OK);
        bool same = cn_str_is(d.text, pages[i].text);
        CU_ASSERT(same && (i != 4 || cn_str_is(d.title, "On <textarea> & more")));
        if (!same)
            printf("\n  %s\n  gave: %.*s\n  not: %s\n", pages[i].page, CN_STR_ARG(d.text), pages[i].text);
    }
}

/* What is looked for behind each of many is looked for once. */
static void html_in_one_pass(void) {
    static const char *const parts[] = {"&amp ", "<textarea>", "<!--", "<a b='", "<title>x</title>&copy ", "<noscript>", "</"};
    cn_parsed d = {0};
    cn_buf b;
    cn_buf_init(&b, 8 << 20);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        cn_buf_reset(&b);
        cn_buf_puts(&b, "<p>begin ");
        while (b.n < (2 << 20))
            cn_buf_puts(&b, parts[i]);
        cn_arena_reset(&arena);
        cn_err e = cn_parse(parser, CN_FMT_HTML, cn_buf_str(&b), &arena, &d);
        CU_ASSERT_EQUAL(e, CN_OK);
        if (e != CN_OK)
            printf("\n  %s: %s\n", parts[i], cn_error_detail());
    }
    cn_buf_done(&b);
}

static void nested(void) {
    cn_buf b;
    cn_parsed d = {0};
    cn_buf_init(&b, 8 << 20);
    for (int i = 0; i < 200000; i++)
        cn_buf_puts(&b, i & 1 ? "<div>" : "<b>");
    cn_buf_puts(&b, "deep");
    cn_arena_reset(&arena);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_HTML, cn_buf_str(&b), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.text, "deep"));
    for (int i = 0; i < 200000; i++)
        cn_buf_puts(&b, "</i>"); /* each is looked for through the whole stack: time runs out, the next document is fine */
    cn_err e = cn_parse(parser, CN_FMT_HTML, cn_buf_str(&b), &arena, &d);
    CU_ASSERT(e == CN_DEADLINE || e == CN_OK);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_HTML, CN_STR("<p>after</p>"), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.text, "after"));
    cn_buf_done(&b);
}

static void markdown(void) {
    cn_parsed d = {0};
    cn_arena_reset(&arena);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_MD, CN_STR("---\ntitle: X\n---\n# A *b*\n\ntwo &amp;\nlines\n\n- item\n\n|x|y|\n|---|---|\n|1|2|\n\n    code\n\n> said\n"), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.front, "title: X\n") && cn_str_is(d.title, "A b"));
    CU_ASSERT(block_is(&d, 0, CN_BLOCK_HEADING, "A b") && block_is(&d, 1, CN_BLOCK_PARA, "two & lines") && block_is(&d, 2, CN_BLOCK_ITEM, "item"));
    CU_ASSERT(block_is(&d, 3, CN_BLOCK_ROW, "x\ty") && block_is(&d, 4, CN_BLOCK_ROW, "1\t2") && block_is(&d, 5, CN_BLOCK_CODE, "code"));
    CU_ASSERT(block_is(&d, 6, CN_BLOCK_QUOTE, "said"));
}

/* The smallest PDF with a text of its own; the cross-reference table is left to the reader to rebuild. */
static cn_str small_pdf(const char *show, cn_buf *b) {
    cn_buf_reset(b);
    cn_buf_printf(b, "%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj\n"
        "4 0 obj<</Length %zu>>stream\n%s\nendstream endobj\n5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n"
        "trailer<</Root 1 0 R>>\n%%%%EOF\n", strlen(show), show);
    return cn_buf_str(b);
}

static void pdf(void) {
    cn_buf b;
    cn_parsed d = {0};
    cn_buf_init(&b, 1 << 16);
    cn_arena_reset(&arena);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_PDF, small_pdf("BT /F 12 Tf 20 200 Td (Hello pages) Tj ET", &b), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.text, "Hello pages") && d.n_blocks == 1 && d.blocks[0].page == 1);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_PDF, small_pdf("", &b), &arena, &d), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "scanned"));
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_PDF, CN_STR("%PDF-1.4\ncut"), &arena, &d), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "damaged"));
    cn_buf_done(&b);
}

static void plain(void) {
    cn_parsed d = {0};
    cn_arena_reset(&arena);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_TEXT, CN_STR("\n\n  one\ntwo  \n \n\nthree"), &arena, &d), CN_OK);
    CU_ASSERT(d.n_blocks == 2 && block_is(&d, 0, CN_BLOCK_PARA, "one\ntwo") && block_is(&d, 1, CN_BLOCK_PARA, "three"));
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_TEXT, CN_STR(""), &arena, &d), CN_INVALID);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_TEXT, CN_STR(" \n\n "), &arena, &d), CN_INVALID);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_NPY, CN_STR("x"), &arena, &d), CN_INVALID);
    CU_ASSERT_EQUAL(cn_format_guess(CN_STR("a/b.HTM"), CN_STR("")), CN_FMT_HTML);
    CU_ASSERT_EQUAL(cn_format_guess(CN_STR("noname"), CN_STR("%PDF-1.7")), CN_FMT_PDF);
    CU_ASSERT_EQUAL(cn_format_guess(CN_STR("a.png"), CN_STR("x")), CN_FMT_AUTO);
    CU_ASSERT_EQUAL(cn_format_guess(CN_STR("README"), CN_STR("words")), CN_FMT_TEXT);
}

static void add_part(struct archive *ar, const char *name, const char *body, size_t n) {
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, 0100000);
    archive_entry_set_size(e, (la_int64_t)n);
    archive_write_header(ar, e);
    archive_write_data(ar, body, n);
    archive_entry_free(e);
}

static struct archive *begin_zip(char *room, size_t size, size_t *used) {
    struct archive *ar = archive_write_new();
    archive_write_set_format_zip(ar);
    archive_write_open_memory(ar, room, size, used);
    return ar;
}

static cn_str zipped(const char *name, const char *body, size_t n, char *room, size_t size) {
    size_t used = 0;
    struct archive *ar = begin_zip(room, size, &used);
    add_part(ar, name, body, n);
    archive_write_close(ar);
    archive_write_free(ar);
    return (cn_str){room, used};
}

static cn_str zipped_all(const char *const (*parts)[2], size_t n, char *room, size_t size) {
    size_t used = 0;
    struct archive *ar = begin_zip(room, size, &used);
    for (size_t i = 0; i < n; i++)
        add_part(ar, parts[i][0], parts[i][1], strlen(parts[i][1]));
    archive_write_close(ar);
    archive_write_free(ar);
    return (cn_str){room, used};
}

static void office(void) {
    static char room[1 << 20], zeros[64 << 20];
    static const char docx[] = "<w:d xmlns:w='x'><w:p><w:pPr><w:pStyle w:val='Heading2'/></w:pPr><w:r><w:t>H</w:t></w:r></w:p><w:p><w:r><w:t>a </w:t><w:t>b</w:t></w:r></w:p></w:d>";
    static const char odt[] = "<o xmlns:t='t'><t:h t:outline-level='3'>H</t:h><t:list-item><t:p>i</t:p></t:list-item></o>";
    static const char bomb[] = "<!DOCTYPE x [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><w:d xmlns:w='x'><w:p><w:t>&b;</w:t></w:p></w:d>";
    cn_parsed d = {0};
    cn_arena_reset(&arena);
    cn_str z = zipped("word/document.xml", docx, sizeof docx - 1, room, sizeof room);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_DOCX, z, &arena, &d), CN_OK);
    CU_ASSERT(block_is(&d, 0, CN_BLOCK_HEADING, "H") && d.blocks[0].level == 2 && block_is(&d, 1, CN_BLOCK_PARA, "a b"));
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_DOCX, (cn_str){z.p, z.n / 2}, &arena, &d), CN_INVALID);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_ODT, zipped("content.xml", odt, sizeof odt - 1, room, sizeof room), &arena, &d), CN_OK);
    CU_ASSERT(block_is(&d, 0, CN_BLOCK_HEADING, "H") && d.blocks[0].level == 3 && block_is(&d, 1, CN_BLOCK_ITEM, "i"));
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_DOCX, zipped("word/document.xml", bomb, sizeof bomb - 1, room, sizeof room), &arena, &d), CN_INVALID);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_DOCX, zipped("word/document.xml", zeros, sizeof zeros, room, sizeof room), &arena, &d), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "zip bomb"));
}

/* Any bytes give an answer, and a sound one; the seed is fixed. */
static void mutated(void) {
    static const cn_str seeds[] = {
        {"<h1>a</h1><table><tr><td>b<td><p>c</table><pre>d\n e</pre>&eacute;", 66}, {"# a\n\n- b\n\n|x|\n|-|\n|1|\n\n> q\n```\nc\n```\n", 41}};
    static const cn_format formats[] = {CN_FMT_HTML, CN_FMT_MD};
    uint32_t seed = 1;
    for (int i = 0; i < 3000; i++) {
        char bytes[80];
        cn_parsed d = {0};
        cn_str s = seeds[i & 1];
        size_t n = strlen(s.p);
        memcpy(bytes, s.p, n);
        for (int j = 0; j < 4; j++) {
            seed = seed * 1664525 + 1013904223;
            bytes[(seed >> 8) % n] = (char)(seed >> 24);
        }
        cn_arena_reset(&arena);
        if (cn_parse_here(formats[i & 1], (cn_str){bytes, n}, &arena, &d) == CN_OK)
            CU_ASSERT(d.n_blocks > 0 && d.blocks[d.n_blocks - 1].to <= d.text.n);
    }
}

static void *parse_once(void *p) {
    cn_parsed d = {0};
    CU_ASSERT_EQUAL(cn_parse(p, CN_FMT_HTML, CN_STR("<p>one</p>"), &arena, &d), CN_OK);
    return NULL;
}

/* A worker belongs to its parser, not to the thread that began it. */
static void outlives_a_thread(void) {
    cn_parser *one;
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(cn_parser_new(1, &one), CN_OK);
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, parse_once, one), 0);
        pthread_join(thread, NULL);
    }
    cn_parser_free(one);
}

/* Chapters lie in the file in another order than the spine's; the last is not in it. */
static void epub(void) {
    static char room[1 << 16];
    static const char *const parts[][2] = {{"mimetype", "application/epub+zip"}, {"OPS/b c.xhtml", "<html><body><h1>Two</h1><p>second</p></body></html>"},
        {"OPS/x.xhtml", "<p>not in the spine</p>"}, {"OPS/a.xhtml", "<html><body><p>first</p></body></html>"},
        {"META-INF/container.xml", "<container><rootfiles><rootfile full-path='OPS/p.opf'/></rootfiles></container>"},
        {"OPS/p.opf", "<package xmlns:dc='d'><metadata><dc:title>Book</dc:title></metadata><manifest><item id='2' href='b%20c.xhtml' media-type='application/xhtml+xml'/>"
                      "<item id='x' href='x.xhtml' media-type='application/xhtml+xml'/><item id='1' href='a.xhtml' media-type='application/xhtml+xml'/></manifest>"
                      "<spine><itemref idref='1'/><itemref idref='2'/><itemref idref='none'/></spine></package>"}};
    cn_parsed d = {0};
    cn_arena_reset(&arena);
    CU_ASSERT_EQUAL_FATAL(cn_parse(parser, CN_FMT_EPUB, zipped_all(parts, 6, room, sizeof room), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.text, "first\n\nTwo\n\nsecond") && cn_str_is(d.title, "Book") && d.n_blocks == 3);
    CU_ASSERT_EQUAL_FATAL(cn_parse(parser, CN_FMT_EPUB, zipped_all(parts, 4, room, sizeof room), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.text, "Two\n\nsecond\n\nnot in the spine\n\nfirst")); /* without a package: as they lie */
}

/* ---------- the cage ---------- */
/* Bits of what could be done in spite of it. */
static int break_out(void) {
    struct rlimit other;
    pid_t parent = getppid();
    int got = 0;
    if (cn_confine() != 0)
        return 128;
    got |= open("/etc/passwd", O_RDONLY) >= 0 ? 1 : 0;
    got |= open("/tmp/cairn-escaped", O_CREAT | O_WRONLY, 0600) >= 0 ? 2 : 0;
    got |= socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 4 : 0;
    got |= syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) >= 0 ? 8 : 0;
    got |= syscall(SYS_execve, "/bin/true", NULL, NULL) >= 0 || kill(parent, 0) == 0 ? 16 : 0;
    got |= syscall(SYS_io_uring_setup, 1, NULL) >= 0 || errno != EPERM ? 32 : 0;
    got |= ptrace(PTRACE_TRACEME, 0, 0, 0) == 0 || chdir("/") == 0 ? 64 : 0;
    got |= syscall(SYS_tgkill, parent, parent, 0) == 0 || prlimit(parent, RLIMIT_NOFILE, NULL, &other) == 0 ? 4 : 0;
    return got;
}

/* A worker is told nothing of this process's secrets and has none of its files. */
static void knows_little(void) {
    char *room[4];
    setenv("CAIRN_KEY", "cairn_secret", 1);
    for (char **e = cn_parse_environment(room); *e; e++)
        CU_ASSERT_PTR_NULL(strstr(*e, "secret"));
    unsetenv("CAIRN_KEY");
}

static void caged(void) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(break_out());
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (WIFEXITED(status) && WEXITSTATUS(status))
        printf("\n  it could: 0x%02x\n", (unsigned)WEXITSTATUS(status));
    CU_ASSERT_EQUAL(access("/tmp/cairn-escaped", F_OK), -1);
}

/* The same of the process that becomes pdftotext: it may read what is installed, and do nothing to anything. */
static int break_out_of_pdf(const char *file) {
    struct rlimit other;
    pid_t parent = getppid();
    int got = 0;
    if (cn_pdf_confine() != 0)
        return 128;
    got |= open(file, O_RDONLY) >= 0 || open("/proc/self/environ", O_RDONLY) >= 0 ? 1 : 0;
    got |= truncate(file, 0) == 0 || open(file, O_WRONLY | O_TRUNC) >= 0 ? 2 : 0;
    got |= chmod(file, 0777) == 0 || fchmodat(AT_FDCWD, file, 0777, 0) == 0 || chown(file, (uid_t)-1, (gid_t)-1) == 0 ? 4 : 0;
    got |= utimensat(AT_FDCWD, file, NULL, 0) == 0 || unlink(file) == 0 || syscall(SYS_setxattr, file, "user.x", "1", 1, 0) == 0 ? 8 : 0;
    got |= kill(parent, 0) == 0 || syscall(SYS_rt_sigqueueinfo, parent, 0, NULL) == 0 || errno != EPERM ? 16 : 0;
    got |= prlimit(parent, RLIMIT_NOFILE, NULL, &other) == 0 || syscall(SYS_sched_setaffinity, parent, 0, NULL) == 0 || errno != EPERM ? 32 : 0;
    got |= socket(AF_INET, SOCK_STREAM, 0) >= 0 || syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) >= 0 ? 64 : 0;
    return got;
}

static void caged_pdf(void) {
    char file[] = "/tmp/cairn-cagedXXXXXX";
    int status = 0, fd = mkstemp(file);
    struct stat st;
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, "x", 1), 1);
    pid_t pid = fork();
    if (pid == 0)
        _exit(break_out_of_pdf(file));
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (WIFEXITED(status) && WEXITSTATUS(status))
        printf("\n  it could: 0x%02x\n", (unsigned)WEXITSTATUS(status));
    CU_ASSERT(fstat(fd, &st) == 0 && st.st_size == 1 && (st.st_mode & 0777) == 0600 && st.st_nlink == 1);
    close(fd);
    unlink(file);
}

/* The one child of this thread that runs. */
static pid_t only_child(void) {
    char path[64];
    long pid = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)gettid());
    FILE *f = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fscanf(f, "%ld", &pid), 1);
    fclose(f);
    return (pid_t)pid;
}

/* A worker that hangs costs one document; one that died between documents costs none. */
static void lost_workers(void) {
    cn_parser *one;
    cn_parsed d = {0};
    cn_arena_reset(&arena);
    cn_parser_free(parser); /* its children would be counted */
    parser = NULL;
    setenv("CAIRN_PARSE_SECONDS", "1", 1);
    CU_ASSERT_EQUAL_FATAL(cn_parser_new(1, &one), CN_OK);
    CU_ASSERT_EQUAL(cn_parse(one, CN_FMT_HTML, CN_STR("<p>one</p>"), &arena, &d), CN_OK);
    kill(only_child(), SIGSTOP);
    CU_ASSERT_EQUAL(cn_parse(one, CN_FMT_HTML, CN_STR("<p>two</p>"), &arena, &d), CN_DEADLINE);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "over 1 s"));
    CU_ASSERT_EQUAL(cn_parse(one, CN_FMT_HTML, CN_STR("<p>three</p>"), &arena, &d), CN_OK);
    kill(only_child(), SIGKILL);
    CU_ASSERT_EQUAL(cn_parse(one, CN_FMT_HTML, CN_STR("<p>four</p>"), &arena, &d), CN_OK);
    CU_ASSERT(cn_str_is(d.text, "four"));
    cn_parser_free(one);
    setenv("CAIRN_PARSE_SECONDS", "3", 1);
    CU_ASSERT_EQUAL(cn_parser_new(2, &parser), CN_OK);
}

/* What needs more memory than a worker may have is refused by it, and the next document is fine. */
static void too_large(void) {
    size_t n = (size_t)460 << 20;
    char *zeros = calloc(n, 1);
    cn_parsed d = {0};
    cn_arena_reset(&arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(zeros);
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_HTML, (cn_str){zeros, n}, &arena, &d), CN_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(cn_error_detail(), "512 MiB"));
    CU_ASSERT_EQUAL(cn_parse(parser, CN_FMT_HTML, CN_STR("<p>after</p>"), &arena, &d), CN_OK);
    free(zeros);
}

static void count_bytes(void *ctx, cn_str piece) { *(size_t *)ctx += piece.n; }

/* A page of several pieces: whichever piece finds no memory, it is told and no text is left out in silence. */
static void feed_without_memory(void) {
    size_t n = 9 << 20, whole = 0, got;
    char *page = malloc(n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(page);
    memset(page, 'a', n);
    CU_ASSERT_EQUAL(cn_html_feed((cn_str){page, n}, count_bytes, &whole), CN_OK);
    CU_ASSERT_EQUAL(whole, n);
    uint64_t before = cn_alloc_count();
    cn_html_feed((cn_str){page, n}, count_bytes, &whole);
    uint64_t pieces = cn_alloc_count() - before;
    CU_ASSERT(pieces > 0);
    for (uint64_t at = 1; at <= pieces; at++) {
        got = 0;
        cn_alloc_fail_at(at);
        CU_ASSERT_EQUAL(cn_html_feed((cn_str){page, n}, count_bytes, &got), CN_OVERLOADED);
        cn_alloc_fail_at(0);
        CU_ASSERT(got < n);
    }
    free(page);
}

void add_parse_tests(void) {
    CU_pSuite s = CU_add_suite("parsers", set_up, tear_down);
    CU_add_test(s, "plain text and formats", plain);
    CU_add_test(s, "HTML", html);
    CU_add_test(s, "HTML as browsers do", html_as_browsers_do);
    CU_add_test(s, "HTML in one pass", html_in_one_pass);
    CU_add_test(s, "200,000 nested tags", nested);
    CU_add_test(s, "Markdown", markdown);
    CU_add_test(s, "PDF", pdf);
    CU_add_test(s, "DOCX, ODT and bombs", office);
    CU_add_test(s, "EPUB in the order of its spine", epub);
    CU_add_test(s, "mutated documents", mutated);
    CU_add_test(s, "a locked-in process can open and start nothing", caged);
    CU_add_test(s, "pdftotext can read what is installed alone", caged_pdf);
    CU_add_test(s, "a worker is told no secret", knows_little);
    CU_add_test(s, "workers that hang or die", lost_workers);
    CU_add_test(s, "a document too large for a worker", too_large);
    CU_add_test(s, "HTML without memory", feed_without_memory);
    CU_add_test(s, "a worker outlives the thread that began it", outlives_a_thread);
}
