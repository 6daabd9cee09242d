/* An external LiteRT delegate for tests: it does what its options say, and computes nothing.
 *
 *   record: FILE    write every option that it was given to FILE, `name=value` a line
 *   refuse: TEXT    be refused, with TEXT as the reason
 *   take: first     take over the model's first operator
 *   crash: prepare  crash when it is given the model
 *   last: N         crash after N inferences
 *
 * ABI: tensorflow/lite/core/c/common.h and tensorflow/lite/delegates/external/external_delegate_interface.h of
 * tensorflow/tensorflow; structs are written down as far as they are used here.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, DELEGATE_OP = 51 }; /* kTfLiteOk, kTfLiteBuiltinDelegate */

struct context;
struct delegate;

struct int_array {
    int size;
    int data[1];
};

struct registration {
    void *(*init)(struct context *, const char *, size_t);
    void (*free)(struct context *, void *);
    int (*prepare)(struct context *, void *);
    int (*invoke)(struct context *, void *);
    const char *(*profiling_string)(const struct context *, const void *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *registration_external;
    void *async_kernel;
    uint64_t inplace_operator;
};

struct context {
    size_t tensors_size;
    int (*get_execution_plan)(struct context *, struct int_array **);
    void *tensors;
    void *impl;
    void *resize_tensor;
    void *report_error;
    void *add_tensors;
    void *get_node_and_registration;
    int (*replace_node_subsets)(struct context *, struct registration, const struct int_array *, struct delegate *);
};

struct delegate {
    void *data;
    int (*prepare)(struct context *, struct delegate *);
    void *copy_from_buffer_handle;
    void *copy_to_buffer_handle;
    void *free_buffer_handle;
    int64_t flags;
    void *opaque_delegate_builder;
};

static int nothing_to_do(struct context *context, void *node)
{
    (void)context, (void)node;
    return OK;
}

static int left = -1; /* inferences before the crash */

static int compute_nothing(struct context *context, void *node)
{
    (void)context, (void)node;
    if (left > 0 && --left == 0)
        abort();
    return OK;
}

static int take_nothing(struct context *context, struct delegate *delegate)
{
    (void)context, (void)delegate;
    return OK;
}

static int take_first(struct context *context, struct delegate *delegate)
{
    struct registration kernel = {
        .prepare = nothing_to_do, .invoke = compute_nothing, .builtin_code = DELEGATE_OP, .custom_name = "test", .version = 1};
    struct int_array *plan, first = {1, {0}};
    int status = context->get_execution_plan(context, &plan);
    if (status != OK)
        return status;
    first.data[0] = plan->data[0];
    return context->replace_node_subsets(context, kernel, &first, delegate);
}

static int crash(struct context *context, struct delegate *delegate)
{
    (void)context, (void)delegate;
    abort();
}

struct delegate *tflite_plugin_create_delegate(char **names, char **values, size_t count, void (*report_error)(const char *))
{
    struct delegate *delegate = calloc(1, sizeof *delegate);
    delegate->prepare = take_nothing;
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(names[i], "refuse")) {
            report_error(values[i]);
            free(delegate);
            return NULL;
        }
        if (!strcmp(names[i], "take"))
            delegate->prepare = take_first;
        if (!strcmp(names[i], "crash"))
            delegate->prepare = crash;
        if (!strcmp(names[i], "last"))
            left = atoi(values[i]);
        if (!strcmp(names[i], "record")) {
            FILE *file = fopen(values[i], "w");
            for (size_t j = 0; file && j < count; j++)
                fprintf(file, "%s=%s\n", names[j], values[j]);
            if (file)
                fclose(file);
        }
    }
    return delegate;
}

void tflite_plugin_destroy_delegate(struct delegate *delegate)
{
    free(delegate);
}
