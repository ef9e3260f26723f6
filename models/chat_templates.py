"""The built-in chat templates: texts of our own for formats as documented by those who trained with them.

* plain: no format: the contents, one to a line.
* chatml: OpenAI's chatml.md.
* llama2: `chat_completion` of meta-llama/llama (Llama 2).
* llama3: Meta's model card and prompt format of Llama 3.
* zephyr: the model card of HuggingFaceH4/zephyr-7b-beta.
"""

#: Name to Jinja2 text, for `models.chat`.
TEMPLATES = {
    "plain": r"""
{{- bos_token + messages | map(attribute='content') | join('\n') -}}
""",
    "chatml": r"""
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
""",
    "llama2": r"""
{%- set first = 1 if messages[0]['role'] == 'system' else 0 -%}
{%- for message in messages[first:] -%}
    {%- if message['role'] != ('user' if loop.index0 is even else 'assistant') -%}
        {{- raise_exception('roles must be: system (or not), then user and assistant in turn') -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- ' ' + message['content'] | trim + ' ' + eos_token -}}
    {%- elif loop.first and first -%}
        {%- set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' -%}
        {{- bos_token + '[INST] ' + (system + message['content']) | trim + ' [/INST]' -}}
    {%- else -%}
        {{- bos_token + '[INST] ' + message['content'] | trim + ' [/INST]' -}}
    {%- endif -%}
{%- endfor -%}
""",
    "llama3": r"""
{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' -}}
    {{- message['content'] | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
{%- endif -%}
""",
    "zephyr": r"""
{%- for message in messages -%}
    {{- '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>\n' -}}
{%- endif -%}
""",
}
